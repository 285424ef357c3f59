"""`stillroom evaluate` with `--dd-ranking`, `--dc-bench` and `--nas`: what they print, write, and do not measure twice."""

import inspect
import json
import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from core_distill.cli.evaluate import _READ_BY, evaluate
from core_distill.cli.studies import ArchitectureStudy
from core_distill.evaluation import Protocol, Score
from core_distill.synthetic import SoftLabels
from core_distill.synthetic.storage import load_artefact

ONE = ("--epochs", 1, "--networks", 1, "--no-compile")
BRIEF = (*ONE, "--real-epochs", 1)


@pytest.fixture
def artefact(finished_run, tmp_path):
    return shutil.copy(finished_run / "synthetic.safetensors", tmp_path / "mine.safetensors")


@pytest.fixture
def trained(monkeypatch):
    """Networks are not trained; says how many would have been, and answers with rising accuracies."""
    seen = []

    def several(train, tests, protocol, **_):
        seen.append(protocol)
        return {name: Score((len(seen) / 1_000,)) for name in tests}

    for module in ("dd_ranking", "dc_bench", "architecture_search"):
        monkeypatch.setattr(f"core_distill.evaluation.{module}.evaluate_on_each", several)
    return seen


def test_dd_ranking_prints_and_writes_both_scores(stillroom, artefact):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--real-accuracy", 0.9)
    assert (said.code, said.error) == (0, "")
    written = artefact.with_name("mine.dd-ranking.json")
    results = json.loads(written.read_text())["results"]
    score = 100 * results["label_robust_score"]["mean"]
    assert f"label-robust score {score:.1f} %" in said.out
    assert "augmentation-robust score" in said.out
    assert f"written: {written}" in said.out
    assert "DD-Ranking on digits test (359 images)" in said.out
    random = f"random, {results['random_images']} images"
    names = ["synthetic", random, "synthetic, no augmentation", "random, no augmentation", "real, as given"]
    assert all(any(line.startswith(f"  {name}  ") for line in said.out.splitlines()) for name in names)


def test_learning_rates_are_tuned_where_asked(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--tune", "--real-accuracy", 0.9)
    assert said.code == 0
    assert sorted({protocol.learning_rate for protocol in trained}) == [0.001, 0.005, 0.01, 0.05, 0.1]
    assert len(trained) == 4 * 5


def test_dc_bench_takes_the_sets_own_network_and_all_others(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--dc-bench", *ONE)
    assert said.code == 0
    results = json.loads(artefact.with_name("mine.dc-bench.json").read_text())["results"]
    own = "convnet, width 4, depth 2"
    assert list(results["best_augmentations"]) == sorted([own, "lenet", "mlp", "resnet18"])
    assert len(trained) == 4 * 4
    assert {protocol.augment.operations[:1] for protocol in trained} == {
        (),
        ("color",),
        ("autoaugment",),
        ("randaugment",),
    }
    assert f"best over augmentations {100 * results['best_over_augmentations']:.1f} % (randaugment)" in said.out
    assert f"mean transfer {100 * results['mean_transfer']:.1f} %" in said.out


def test_dc_bench_on_named_networks_goes_on_where_it_was(stillroom, artefact, trained, tmp_path):
    command = (
        "evaluate",
        artefact,
        "--dc-bench",
        *ONE,
        "--network",
        "mlp",
        "--network",
        "lenet",
        "--out",
        tmp_path / "out",
    )
    first, count = stillroom(*command), len(trained)
    assert count == 8
    again = stillroom(*command)
    assert len(trained) == count
    assert first.out.splitlines()[-5:] == again.out.splitlines()[-5:]
    assert "mean transfer" in again.out
    other = stillroom(*command, "--seed", 1)
    assert other.code == 2
    assert "belongs to another evaluation" in other.error


def test_architectures_are_ranked_on_the_set_and_on_real_images(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--nas", *BRIEF)
    assert said.code == 0
    assert len(trained) == 2 * 16
    assert "rank correlation 1.00" in said.out
    assert "Architectures on digits test (359 images)" in said.out
    chosen = "width 64, depth 3, norm none, pooling maximum, 3.2 % on real images"
    assert f"chosen by the set, on validation images: {chosen}" in said.out


@pytest.mark.parametrize("options", [["--dd-ranking", "--tune"], ["--dc-bench"], ["--nas"]])
def test_nothing_is_scored_on_the_images_it_is_chosen_by(stillroom, artefact, trained, options):
    said = stillroom("evaluate", artefact, *options, *ONE, "--on", "validation")
    assert (said.code, trained) == (2, [])
    assert f"{options[-1]} chooses on validation images, so leave out --on validation" in said.error


@pytest.mark.parametrize(
    ("labels", "known", "total"), [("hard", 0.9, 4), ("hard", 0, 5), ("soft", 0.9, 5), ("soft", 0, 6)]
)
def test_the_bar_of_dd_ranking_ends_at_its_end(stillroom, artefact, trained, monkeypatch, labels, known, total):
    released = load_artefact(artefact)
    if labels == "soft":
        released.synthetic.labels = SoftLabels.starting_at(released.synthetic.batch().labels, 10)
        monkeypatch.setattr("core_distill.synthetic.storage.load_artefact", lambda path: released)
    seen = []

    @contextmanager
    def bar(what, total):
        yield lambda done, note="": seen.append((done, total))

    monkeypatch.setattr("core_distill.cli.studies.progress", bar)
    assert stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--real-accuracy", known).code == 0
    assert seen[-1] == (total, total)


def test_dd_ranking_without_augmentation_is_refused(stillroom, artefact):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--no-augment")
    assert said.code == 2
    assert "training with and without augmentation; leave out --no-augment" in said.error


def test_a_percentage_is_no_accuracy(stillroom, artefact):
    said = stillroom("evaluate", artefact, "--dd-ranking", *ONE, "--real-accuracy", 93)
    assert said.code == 2
    assert "fractions from 0 to 1, got 93" in said.error


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize("study", ["dd-ranking", "dc-bench", "nas"])
def test_a_runs_folder_is_its_artefact(stillroom, finished_run, trained, tmp_path, study, folder):
    run = shutil.copytree(finished_run, tmp_path / "run")
    said = stillroom("evaluate", run if folder else run / "synthetic.safetensors", f"--{study}", *ONE)
    assert (said.code, said.error) == (0, "")
    assert json.loads((run / f"synthetic.{study}.json").read_text())["results"]


def test_studies_asked_for_together_share_what_some_of_them_read(stillroom, artefact, trained):
    said = stillroom("evaluate", artefact, "--dd-ranking", "--nas", *BRIEF, "--tune")
    assert (said.code, said.error) == (0, "")
    assert [artefact.with_name(f"mine.{study}.json").exists() for study in ("dd-ranking", "nas")] == [True, True]


PLAIN = "plain accuracy"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--tune"], f"--tune is for --dd-ranking; leave it out for {PLAIN}"),
        (["--nas", "--tune"], "--tune is for --dd-ranking; leave it out for --nas"),
        (["--real-accuracy", 0.9], f"--real-accuracy is for --dd-ranking; leave it out for {PLAIN}"),
        (["--nas", "--real-accuracy", 0.9], "--real-accuracy is for --dd-ranking; leave it out for --nas"),
        (["--real-epochs", 10], f"--real-epochs is for --dd-ranking, --nas; leave it out for {PLAIN}"),
        (["--dc-bench", "--real-epochs", 3], "--real-epochs is for --dd-ranking, --nas; leave it out for --dc-bench"),
        (["--dc-bench", "--no-augment"], f"--no-augment is for {PLAIN}, --dd-ranking, --nas; leave it out for"),
        (
            ["--nas", "--network", "mlp"],
            f"--network is for {PLAIN}, --dd-ranking, --dc-bench, --posterior; leave it out",
        ),
        (["--samples", 3], "--samples is for --posterior"),
        (["--burn-in", 3], "--burn-in is for --posterior"),
        (
            ["--nas", "--dc-bench", "--step-size", 1],
            "--step-size is for --posterior; leave it out for --dc-bench, --nas",
        ),
        (["--posterior", "hmc", "--epochs", 3], "leave it out for --posterior"),
        (["--posterior", "hmc", "--augment"], "--augment is for"),
        (
            ["--dd-ranking", "--network", "mlp", "--network", "lenet"],
            "scores one network, so name one by --network; got",
        ),
        (["--dd-ranking", "--network", "all"], "got convnet, width 4, depth 2, lenet, mlp, resnet18"),
        (["--dd-ranking", "--real-accuracy", 0.9, "--real-epochs", 3], "leave one of them out"),
    ],
)
def test_what_would_have_no_effect_is_refused(stillroom, artefact, trained, options, told):
    said = stillroom("evaluate", artefact, *options)
    assert (said.code, said.out, trained) == (2, "", [])
    assert said.error.startswith("error: ")
    assert told in said.error
    assert said.error.count("\n") == 1


def test_real_epochs_count_for_soft_labels_also_where_the_real_accuracy_is_known(
    stillroom, artefact, trained, monkeypatch
):
    released = load_artefact(artefact)
    released.synthetic.labels = SoftLabels.starting_at(released.synthetic.batch().labels, 10)
    monkeypatch.setattr("core_distill.synthetic.storage.load_artefact", lambda path: released)
    said = stillroom("evaluate", artefact, "--dd-ranking", *BRIEF, "--real-accuracy", 0.9)
    assert (said.code, said.error) == (0, "")


def test_architectures_are_ranked_for_images_alone():
    subject = SimpleNamespace(splits=SimpleNamespace(name="trec6", train=SimpleNamespace(image_shape=(32, 50))))
    with pytest.raises(
        ValueError, match="--nas ranks convolutional networks, and trec6 is not of images: leave it out"
    ):
        ArchitectureStudy(protocol=Protocol(), real_epochs=1).show(subject)


def test_every_option_that_something_reads_is_an_option():
    names = set(inspect.signature(evaluate).parameters)
    assert set(_READ_BY) <= names
    measurements = {"--dd-ranking", "--dc-bench", "--nas", "--posterior"}
    assert {name for readers in _READ_BY.values() for name in readers} == {PLAIN, *measurements}
