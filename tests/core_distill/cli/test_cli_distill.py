"""What `stillroom distill` does and prints."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from core_distill.cli.options import default_folder
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.storage import load_artefact

TINY = ("--ipc", 1, "--epochs", 1, "--networks", 1, "--set", "steps=2", "--set", "width=4", "--set", "batch_size=4")


def words(text):
    return " ".join(text.split())


def test_distill_writes_an_artefact_a_picture_and_results(stillroom):
    said = stillroom("distill", "digits", "--recipe", "dsa", *TINY, "--set", "outer_steps=1")
    assert (said.code, said.error) == (0, "")
    out = Path("runs/digits-dsa-ipc1-seed0-batch_size=4-outer_steps=1-steps=2-width=4")
    results = json.loads((out / "results.json").read_text())
    assert set(results["scores"]) == {"dsa", "random", "herding", "kmeans"}
    assert len(SyntheticSet.load(out / "synthetic.safetensors")) == 10
    assert (out / "images.png").exists()
    assert "digits: 1295 training images, 10 classes" in said.out
    assert (
        "dsa: Dataset Condensation with Differentiable Siamese Augmentation, arXiv 2102.08259; cpu schedule" in said.out
    )
    assert "changed here: steps=" in said.out
    assert "set accuracy images/class bytes evaluation peak memory" in words(said.out)
    assert re.search(r"distillation took \d+ s and \d+ MB at its peak", said.out)
    for name, score in results["scores"].items():
        cost = f"{score['seconds']:.0f} s {score['peak_bytes'] / 1e6:.0f} MB"
        assert f"{name} {100 * score['accuracy']['mean']:.1f} % 1 {score['bytes']} {cost}" in words(said.out)
        assert score["peak_bytes"] > 1e6
    assert results["distillation_peak_bytes"] > 1e6
    assert f"written: {out}/synthetic.safetensors, images.png, results.json" in said.out


def test_texts_are_examples_without_a_picture_and_evaluate_reads_them(stillroom, tmp_path):
    for name, count in (("train", 12), ("test", 4)):
        lines = [f"{('good fine well', 'bad poor ill')[number % 2]} {number},{number % 2}" for number in range(count)]
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    changes = ("--set", "inner_steps=1", "--no-baselines", "--out", tmp_path / "run")
    said = stillroom("distill", tmp_path / "texts", "--recipe", "sldd-text", *TINY[:-2], *changes)
    assert (said.code, said.error) == (0, "")
    assert "training examples, 2 classes" in said.out
    assert words(said.out).endswith("/synthetic.safetensors, results.json")
    scored = stillroom("evaluate", tmp_path / "run", tmp_path / "texts", "--networks", 1, "--epochs", 1)
    assert (scored.code, scored.error) == (0, "")
    assert "text-cnn" in scored.out


def test_images_of_other_channels_have_no_picture(stillroom, tmp_path):
    for part, count in (("train", 12), ("test", 4)):
        np.save(tmp_path / f"{part}_images.npy", np.random.default_rng(0).integers(0, 256, (count, 2, 8, 8), np.uint8))
        np.save(tmp_path / f"{part}_labels.npy", np.arange(count) % 2)
    said = stillroom("distill", tmp_path, *TINY, "--no-baselines", "--out", "run")
    assert (said.code, said.error) == (0, "")
    assert said.out.splitlines()[-1] == "written: run/synthetic.safetensors, results.json"


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("sldd-text", "TextCNN is not made for such data; what is: --set network=convnet or --set network=lenet or "),
        ("dm", ""),
    ],
)
def test_a_network_for_other_data_is_told(recipe, told, stillroom):
    changes = ("--set", "steps=1", "--set", "width=4", "--set", "batch_size=4")
    said = stillroom("distill", "digits", "--recipe", recipe, "--ipc", 1, "--networks", 0, *changes)
    assert (said.code, said.error) == (0, "")
    assert told in said.out
    assert ("is not made for such data" in said.out) == bool(told)
    assert "\n1 step on cpu" in said.out


def test_texts_name_what_they_need_of_an_images_recipe(stillroom):
    texts = ("distill", "docstrings", *TINY[:2], "--networks", 0, "--set", "steps=1")
    said = stillroom(*texts)
    assert said.code == 2
    assert "what is: --set network=text-cnn\n" in said.out
    assert (
        "recipe dm augments images (c, h, w), and these examples are (50, 32): leave its operations out" in said.error
    )
    said = stillroom(*texts, "--set", "augment=")
    assert said.code == 2
    assert "error: ConvNet needs images of shape (channels, height, width)" in said.error
    assert stillroom(*texts, "--set", "augment=", "--set", "network=text-cnn").code == 0


def test_piped_output_is_plain(stillroom):
    said = stillroom("distill", "digits", *TINY, "--no-baselines")
    assert "\x1b" not in said.out + said.error
    assert "\r" not in said.out
    assert "distil dm 2/2  loss " in said.out
    assert "evaluate dm 1/1  networks" in said.out


def test_options_reach_the_experiment(stillroom):
    options = ["--labels", "soft", "--recipe", "dc", "--seed", 7, "--precision", "float16", "--out", "mine"]
    loops = ["--set", "outer_steps=1", "--set", "inner_epochs=1"]
    stillroom("distill", "digits", *TINY, *options, *loops, "--schedule", "paper", "--no-baselines")
    identity = json.loads(Path("mine/run.json").read_text())
    assert identity["seed"] == 7
    assert identity["precision"] == "float16"
    assert identity["baselines"] == []
    assert identity["recipe"]["values"]["labels"] == "soft"
    assert identity["recipe"]["values"]["image_learning_rate"] == 0.1
    assert identity["protocol"]["epochs"] == 1
    released = load_artefact("mine/synthetic.safetensors")
    assert released.layout["labels"]["name"] == "soft"
    assert released.layout["precision"] == "float16"


@pytest.mark.parametrize(("options", "labels"), [([], "soft"), (["--labels", "hard"], "hard")])
def test_labels_are_the_recipes_own_unless_told(options, labels, stillroom):
    tiny = ["--set", "batch_size=4", "--set", "inner_epochs=1", "--networks", 0, "--out", "mine"]
    said = stillroom("distill", "digits", "--recipe", "sldd", *TINY, *tiny, *options)
    assert (said.code, said.error) == (0, "")
    assert load_artefact("mine/synthetic.safetensors").layout["labels"]["name"] == labels


def test_the_score_of_digits_is_taken_without_flips_as_evaluate_takes_it(stillroom):
    """The same networks on the same set give the same number, whichever command asks."""
    out = ["--out", "run", "--no-baselines"]
    stillroom("distill", "digits", "--ipc", 1, "--epochs", 2, "--networks", 2, "--set", "steps=1", *out)
    results = json.loads(Path("run/results.json").read_text())
    assert "flip" not in results["identity"]["protocol"]["augment"]
    said = stillroom("evaluate", "run/synthetic.safetensors", "--epochs", 2, "--networks", 2)
    each = ", ".join(f"{100 * value:.1f}" for value in results["scores"]["dm"]["accuracy"]["accuracies"])
    assert f" %  {each}  " in said.out.splitlines()[-1]


def test_the_folder_is_named_by_what_the_recipe_has_in_the_end(stillroom):
    stillroom("distill", "digits", *TINY, "--set", "images_per_class=2", "--networks", 0)
    assert len(SyntheticSet.load("runs/digits-dm-ipc2-seed0-batch_size=4-steps=2-width=4")) == 20


def test_a_run_with_other_values_has_another_folder(stillroom):
    other = ("--images", "multi-formation", "--networks", 0)
    for options in ((), ("--labels", "teacher"), ("--set", "depth=2")):
        assert stillroom("distill", "digits", *TINY, *other, *options).code == 0
    assert len(list(Path("runs").glob("digits-dm-ipc1-seed0*images=multi-formation*"))) == 3


def test_a_folder_for_changed_values_is_a_short_name():
    assert default_folder("digits-dm", {}) == Path("runs/digits-dm")
    assert default_folder("digits-dm", {"steps": "2", "augment": "flip,crop"}) == Path(
        "runs/digits-dm-augment=flip,crop-steps=2"
    )
    assert default_folder("digits-my/dm", {"images": "a/b c"}) == Path("runs/digits-my_dm-images=a_b_c")
    assert default_folder("digits-dm", {"steps": "2"}, told_before=("steps",)) == Path("runs/digits-dm")
    long = [default_folder("digits-dm", {"spans": "1" * 300 + last}) for last in "12"]
    assert long[0] != long[1]
    assert max(len(folder.name) for folder in long) < 130


def test_a_recipe_of_ones_own_is_a_function_of_a_file(stillroom):
    Path("own.py").write_text(
        "import dataclasses\n"
        "from core_distill.recipes import dm\n"
        "def mine(**values):\n"
        "    return dataclasses.replace(dm(**values), name='mine', paper='none yet')\n"
    )
    said = stillroom("distill", "digits", "--recipe", "own.py:mine", *TINY)
    assert (said.code, said.error) == (0, "")
    told = "stillroom recipes own.py:mine --data digits --ipc 1 tells its values"
    assert f"mine: none yet; cpu schedule ({told})" in said.out
    results = json.loads(Path("runs/digits-mine-ipc1-seed0-batch_size=4-steps=2-width=4/results.json").read_text())
    assert "mine" in results["scores"]
    shown = stillroom("recipes", "own.py:mine", "--data", "digits")
    assert (shown.code, shown.error) == (0, "")
    assert "paper: none yet; learns images; published accuracy: not known to us" in shown.out
    wrong = stillroom("distill", "digits", "--recipe", "own.py:other")
    assert wrong.code == 2
    assert "own.py:other names no function" in wrong.error


def test_without_networks_nothing_is_scored(stillroom):
    said = stillroom("distill", "digits", *TINY, "--networks", 0, "--out", "run")
    assert said.code == 0
    assert "accuracy" not in said.out
    assert json.loads(Path("run/results.json").read_text())["scores"] == {}


def test_a_stopped_run_says_where_it_goes_on(stillroom):
    first = stillroom("distill", "digits", *TINY, "--out", "run", "--no-baselines")
    assert "going on" not in first.out
    Path("run/results.json").unlink()
    again = stillroom("distill", "digits", *TINY, "--out", "run", "--no-baselines")
    assert "going on after step 2, which run holds" in again.out
    finished = stillroom("distill", "digits", *TINY, "--out", "run", "--no-baselines")
    assert "going on" not in finished.out


def test_the_same_command_goes_on_and_another_checkpoint_interval_is_the_same_run(stillroom):
    first = stillroom("distill", "digits", *TINY, "--out", "run", "--no-baselines")
    again = stillroom("distill", "digits", *TINY, "--out", "run", "--no-baselines", "--checkpoint-every", 1)
    assert again.code == 0
    assert "evaluate" not in again.out.replace("evaluation", "")
    table = first.out[first.out.index("Test accuracy") :].splitlines()[:3]
    assert "last epoch): convnet, " in table[0], "the recipe's own network"
    assert all(line in again.out for line in table)
    assert again.out.endswith("the run was finished before: nothing was computed anew\n")
    assert "finished before" not in first.out


def test_an_own_folder_of_images_is_distilled_inspected_and_evaluated(stillroom, make_folder):
    folder = make_folder("cups", classes=2)
    out = ["--out", "run", "--set", "depth=2"]
    assert stillroom("distill", folder, *TINY, *out).code == 0
    released = load_artefact("run/synthetic.safetensors")
    assert released.metadata["data"]["class_names"] == ["class0", "class1"]
    assert released.metadata["normalisation"]["public"] is False
    assert stillroom("inspect", "run/synthetic.safetensors").code == 0
    said = stillroom("evaluate", "run/synthetic.safetensors", folder, "--epochs", 1, "--networks", 1)
    assert "Accuracy on cups test" in said.out
