"""One experiment from data to results: what it writes, that it goes on where it stopped, and what it never looks at."""

import dataclasses
import functools
import json

import pytest
import torch
from PIL import Image

from core_distill import experiment as module
from core_distill.data import from_tensors
from core_distill.evaluation import Protocol, Score, evaluate
from core_distill.experiment import Experiment, run_experiment
from core_distill.networks import MLP
from core_distill.recipes import find_recipe, run_plan
from core_distill.sharding import Processes
from core_distill.synthetic.storage import load_artefact

FILES = {"checkpoint.safetensors", "images.png", "results.json", "run.json", "synthetic.safetensors"}


@pytest.fixture(scope="module")
def experiment(digits):
    recipe = find_recipe("dm", images_per_class=2, data="digits", schedule="cpu")
    recipe = recipe.with_values({"steps": 3, "batch_size": 4, "width": 4, "depth": 2})
    protocol = Protocol(network=recipe.network, num_networks=2, epochs=2)
    return Experiment(data=digits, recipe=recipe, seed=5, protocol=protocol)


@pytest.fixture(scope="module")
def finished(experiment, tmp_path_factory):
    """The folder of a whole run, with what it returned."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return out, run_experiment(experiment, out, command="stillroom distill digits")


def test_all_files_are_there(finished):
    out, _ = finished
    assert {path.name for path in out.iterdir()} == FILES
    with Image.open(out / "images.png") as image:
        assert image.size == (2 + 2 * 34, 2 + 10 * 34)


def test_the_results_say_how_they_came_about(finished, experiment):
    out, returned = finished
    results = json.loads((out / "results.json").read_text())
    assert results == json.loads(json.dumps(returned))
    identity = results["identity"]
    assert identity == experiment.identity() == json.loads((out / "run.json").read_text())
    assert identity["seed"] == 5
    assert identity["versions"]["torch"] == torch.__version__
    assert identity["recipe"]["values"]["steps"] == 3
    assert identity["protocol"]["accuracy_of"] == "last epoch"
    assert results["hardware"]["threads"] == torch.get_num_threads()
    assert {"device", "cores", "python", "system"} <= results["hardware"].keys()
    assert results["command"] == "stillroom distill digits"
    assert results["test_set"] == "used once for each score, after distillation; nothing was chosen on it"
    assert results["distillation_seconds"] > 0


def test_scores_stand_beside_baselines_at_equal_bytes(finished):
    _, results = finished
    assert list(results["scores"]) == ["dm", "random", "herding", "kmeans"]
    budget = results["tensor_bytes"]
    assert budget == 20 * 64 + 8 + 20 + 10 + 4 + 4 + 4
    for name, score in results["scores"].items():
        assert score["images_per_class"] == 2
        assert score["bytes"] == (budget if name == "dm" else 20 * 65)
        assert len(score["accuracy"]["accuracies"]) == 2
        assert 0 <= score["accuracy"]["mean"] <= 1
        assert score["seconds"] >= 0
        assert score["peak_bytes"] > 1e6
    assert results["distillation_peak_bytes"] > 1e6


def test_the_artefact_says_everything(finished, experiment, digits):
    out, results = finished
    released = load_artefact(out / "synthetic.safetensors")
    assert released.metadata == {
        "data": {"name": "digits", "digest": digits.digest, "class_names": [str(number) for number in range(10)]},
        "normalisation": {
            "mean": digits.train.mean.tolist(),
            "std": digits.train.std.tolist(),
            "public": True,
            "whitening": None,
        },
        "recipe": experiment.recipe.describe(),
        "seed": 5,
        "versions": experiment.identity()["versions"],
        "privacy": {"guarantee": "no guarantee"},
        "scores": {name: score["accuracy"] for name, score in results["scores"].items()},
    }
    assert released.layout["schema"] == 1
    assert released.layout["decoder"]["name"] == "pixels"
    assert released.layout["labels"]["name"] == "hard"
    assert released.layout["precision"] == "uint8"


def test_equal_runs_give_equal_bytes(finished, experiment, tmp_path):
    run_experiment(experiment, tmp_path)
    for name in ("synthetic.safetensors", "images.png", "run.json"):
        assert (tmp_path / name).read_bytes() == (finished[0] / name).read_bytes()


def copy(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_running_again_recomputes_nothing(finished, experiment, tmp_path, monkeypatch):
    out = copy(finished[0], tmp_path / "again")

    def not_again(*_, **__):
        raise AssertionError("this was done before")

    monkeypatch.setattr("core_distill.experiment.evaluate", not_again)
    monkeypatch.setattr("core_distill.experiment.prepare", not_again)
    assert run_experiment(experiment, out) == finished[1]
    for path in finished[0].iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_finished_run_needs_neither_checkpoint_nor_picture(finished, experiment, tmp_path):
    out = copy(finished[0], tmp_path / "again")
    for name in ("checkpoint.safetensors", "images.png"):
        (out / name).unlink()
    assert run_experiment(experiment, out) == finished[1]
    assert (out / "images.png").read_bytes() == (finished[0] / "images.png").read_bytes()


@pytest.mark.parametrize("rank", [0, 1])
def test_of_several_processes_the_leader_says_that_a_run_is_finished(rank, finished, experiment, tmp_path, monkeypatch):
    out = copy(finished[0], tmp_path / "again")
    (out / "checkpoint.safetensors").unlink()
    processes = Processes(rank, 2)
    monkeypatch.setattr(processes, "wait", lambda: None)
    monkeypatch.setattr(processes, "add", lambda flags: [flag.fill_(1.0) for flag in flags])  # the leader's word
    monkeypatch.setattr("core_distill.experiment.prepare", None)
    if rank:
        (out / "synthetic.safetensors").unlink()  # as a folder looks that another machine has not caught up with
    assert run_experiment(experiment, out, processes=processes) == ({} if rank else finished[1])


def test_a_release_that_was_deleted_is_made_again(finished, experiment, tmp_path, monkeypatch):
    """Also where the process is killed before the new one has its scores."""
    out = copy(finished[0], tmp_path / "again")
    (out / "synthetic.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("core_distill.experiment._score_all", None)
        with pytest.raises(TypeError):
            run_experiment(experiment, out)
    run_experiment(experiment, out)
    assert (out / "synthetic.safetensors").read_bytes() == (finished[0] / "synthetic.safetensors").read_bytes()


@pytest.mark.parametrize("stop_at", range(4))
def test_stopped_between_two_scores_it_goes_on_with_the_next(stop_at, finished, experiment, tmp_path, monkeypatch):
    calls = []

    def stopping(*arguments, **options):
        if len(calls) == stop_at and stopping.armed:
            raise KeyboardInterrupt
        calls.append(options["seed"])
        return evaluate(*arguments, **options)

    stopping.armed = True
    monkeypatch.setattr("core_distill.experiment.evaluate", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(experiment, tmp_path)
    assert len(json.loads((tmp_path / "results.json").read_text())["scores"]) == stop_at
    stopping.armed = False
    results = run_experiment(experiment, tmp_path)
    assert len(calls) == 4
    accuracies = {name: score["accuracy"] for name, score in results["scores"].items()}
    assert accuracies == {name: score["accuracy"] for name, score in finished[1]["scores"].items()}
    assert (tmp_path / "synthetic.safetensors").read_bytes() == (finished[0] / "synthetic.safetensors").read_bytes()


@pytest.mark.parametrize("seconds", [0.0, 1e6])
def test_how_often_it_is_saved_does_not_make_another_run(seconds, finished, experiment, tmp_path):
    out = copy(finished[0], tmp_path / "again")
    run_experiment(dataclasses.replace(experiment, checkpoint_seconds=seconds), out)


@pytest.mark.parametrize("change", ["seed", "recipe", "data", "protocol", "baselines", "precision"])
def test_whatever_decides_the_result_makes_another_run(change, experiment, finished, digits):
    other = {
        "seed": 6,
        "recipe": experiment.recipe.with_values({"steps": 4}),
        "data": dataclasses.replace(digits, digest="0" * 16),
        "protocol": dataclasses.replace(experiment.protocol, epochs=3),
        "baselines": ("random",),
        "precision": "float32",
    }[change]
    way_out = "score the set that is there by `stillroom evaluate .*synthetic.safetensors`, or choose"
    told = way_out if change in ("protocol", "baselines") else "choose"
    with pytest.raises(ValueError, match=rf"belongs to another run \({change}[^;]* is [^;]*, now [^;]*\); {told}"):
        run_experiment(dataclasses.replace(experiment, **{change: other}), finished[0])


def test_checkpoints_are_written_as_often_as_asked_for(experiment, tmp_path, monkeypatch):
    steps = []
    real = run_plan

    def spy(*arguments, **options):
        save = options["checkpoint"].save
        options["checkpoint"].save = lambda step, episode, parts: (steps.append(step), save(step, episode, parts))
        return real(*arguments, **options)

    monkeypatch.setattr("core_distill.experiment.run_plan", spy)
    quiet = dataclasses.replace(experiment, protocol=None)
    run_experiment(dataclasses.replace(quiet, checkpoint_seconds=0), tmp_path / "often")
    assert steps == [1, 2, 3]
    run_experiment(quiet, tmp_path / "seldom")
    assert steps == [1, 2, 3, 3]


def test_without_a_protocol_it_distils_and_stops(experiment, finished, tmp_path):
    results = run_experiment(dataclasses.replace(experiment, protocol=None), tmp_path)
    assert (results["scores"], results["test_set"]) == ({}, "not used")
    released, other = (load_artefact(path / "synthetic.safetensors") for path in (tmp_path, finished[0]))
    assert released.metadata["scores"] == {}
    assert torch.equal(released.synthetic.images.pixels, other.synthetic.images.pixels)


def test_neither_test_nor_validation_images_decide_what_is_distilled(experiment, finished, digits, tmp_path):
    swapped = dataclasses.replace(digits, test=digits.validation, validation=digits.test)
    run_experiment(dataclasses.replace(experiment, data=swapped, protocol=None), tmp_path)
    released, other = (load_artefact(path / "synthetic.safetensors") for path in (tmp_path, finished[0]))
    assert torch.equal(released.synthetic.images.pixels, other.synthetic.images.pixels)


def test_scores_are_of_what_was_released_on_the_test_set(experiment, tmp_path, monkeypatch):
    seen = []

    def look(batch, test, protocol, **_):
        seen.append((batch, test))
        return Score((0.5,))

    monkeypatch.setattr("core_distill.experiment.evaluate", look)
    run_experiment(experiment, tmp_path)
    (batch, _), *baselines = seen
    assert torch.equal(batch.images, load_artefact(tmp_path / "synthetic.safetensors").synthetic.batch().images)
    assert len(baselines) == 3
    assert all(torch.equal(test.images, experiment.data.test.images) for _, test in seen)


def test_more_bytes_buy_more_real_images(experiment, tmp_path):
    """float32 pixels cost four bytes: the baselines get four times as many."""
    wide = dataclasses.replace(experiment, precision="float32", baselines=("random",))
    results = run_experiment(wide, tmp_path)
    assert results["scores"]["random"]["images_per_class"] == 7
    assert results["scores"]["random"]["bytes"] <= results["tensor_bytes"] == 20 * 64 * 4 + 20 + 10 + 12


def test_inputs_need_not_be_images(tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    vectors = torch.randn(60, 5, generator=generator) + labels.unsqueeze(1)
    data = from_tensors((vectors, labels), (vectors[:30], labels[:30]))
    recipe = find_recipe("dm", images_per_class=2).with_values({"network": "mlp", "augment": "", "steps": 3})
    protocol = Protocol(network=functools.partial(MLP, hidden=(8,)), num_networks=1, epochs=2, augment=recipe.augment)
    results = run_experiment(Experiment(data=data, recipe=recipe, protocol=protocol, baselines=("random",)), tmp_path)
    assert set(results["scores"]) == {"dm", "random"}
    assert not (tmp_path / "images.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"precision": "int4"}, "precision must be one of"), ({"baselines": ("best",)}, "unknown baseline best; known")],
)
def test_what_could_only_fail_at_the_end_is_refused_at_once(change, message, experiment):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(experiment, **change)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [("dm", {"batches": "representative"}, "use batches=uniform"), ("dcc", {}, "is not a sum over classes")],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_what_processes_cannot_share_is_refused_before_work_starts(
    name, values, message, rank, experiment, tmp_path, monkeypatch
):
    def prepared(*_, **__):
        raise AssertionError("work has started")

    monkeypatch.setattr(module, "prepare", prepared)
    monkeypatch.setattr(Processes, "wait", lambda self: None)
    monkeypatch.setattr(Processes, "add", lambda self, tensors: None)
    recipe = find_recipe(name, images_per_class=1).with_values(values)
    asked = dataclasses.replace(experiment, recipe=recipe)
    with pytest.raises(ValueError, match=message):
        run_experiment(asked, tmp_path / "run", processes=Processes(rank, 2))
    assert [path.name for path in (tmp_path / "run").glob("*")] == []
