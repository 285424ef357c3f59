"""What `stillroom inspect` does and prints."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from core_distill.synthetic import HardLabels, Pixels, SyntheticSet
from core_distill.synthetic.storage import load_artefact, save_artefact


def words(text):
    return " ".join(text.split())


def test_inspect_shows_everything(stillroom, finished_run):
    said = stillroom("inspect", finished_run)
    rows = {line.split(maxsplit=1)[0]: words(line) for line in said.out.splitlines()[2:]}
    assert rows["images"] == "images 10 of 1 x 8 x 8, 1 slot a class"
    assert rows["values"].endswith(" (real images of 8 bits: 0 to 1)")
    assert rows["classes"] == "classes [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] of 10"
    assert rows["stored"] == "stored images.pixels (10, 1, 8, 8)"
    assert rows["tensors"] == "tensors 680 bytes"
    assert rows["privacy.guarantee"] == "privacy.guarantee no guarantee"
    released = load_artefact(finished_run / "synthetic.safetensors")
    for name in ("data.digest", "data.class_names", "normalisation.mean", "seed", "versions.torch", "scores.dm.mean"):
        assert name in rows
    assert rows["recipe.values.steps"].endswith(" 2")
    assert rows["layout.schema"].endswith(" 1")
    assert rows["layout.labels.name"].endswith(" hard")
    assert f"{released.metadata['scores']['dm']['mean']}" in rows["scores.dm.mean"]


@pytest.mark.parametrize(
    ("step_size", "learned", "told"),
    [
        (0.02, False, "0.02"),
        (0.02, True, "0.02 (learned)"),
        ([0.5, 0.25, 0.125], True, "0.5, 0.25, 0.125 (learned)"),
        ([0.01 * (number + 1) for number in range(30)], True, "30, one a training step, from 0.01 to 0.3 (learned)"),
    ],
)
def test_inspect_shows_one_step_size_or_many(step_size, learned, told, stillroom, finished_run, tmp_path):
    read = SyntheticSet.load(finished_run / "synthetic.safetensors")
    synthetic = SyntheticSet(
        read.images,
        read.labels,
        classes=read.classes,
        num_classes=10,
        images_per_class=1,
        mean=read.mean,
        std=read.std,
        step_size=step_size,
        learn_step_size=learned,
    )
    save_artefact(tmp_path / "s.safetensors", synthetic, metadata={})
    said = stillroom("inspect", tmp_path / "s.safetensors")
    (line,) = [line for line in said.out.splitlines() if line.startswith("  step size ")]
    assert words(line) == f"step size {told}"


def test_inspect_prints_json_for_programs(stillroom, finished_run):
    said = stillroom("inspect", finished_run / "synthetic.safetensors", "--json")
    released = load_artefact(finished_run / "synthetic.safetensors")
    assert json.loads(said.out) == {**released.metadata, "layout": released.layout}


def test_inspect_draws_the_picture_again(stillroom, finished_run):
    said = stillroom("inspect", finished_run / "synthetic.safetensors", "--picture", "again.png")
    assert Path("again.png").read_bytes() == (finished_run / "images.png").read_bytes()
    assert "written: again.png" in said.out


class Point:
    """An entry point that gives `found`, or raises it."""

    def __init__(self, name, found):
        self.name, self._found = name, found

    def load(self):
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


def test_inspect_draws_so_many_columns_and_says_what_is_left_out(stillroom, finished_run, tmp_path):
    read = SyntheticSet.load(finished_run / "synthetic.safetensors")
    synthetic = SyntheticSet(
        Pixels(read.images.pixels.detach().repeat_interleave(3, 0) * 100),
        HardLabels(torch.arange(10).repeat_interleave(3), num_classes=10),
        classes=read.classes,
        num_classes=10,
        images_per_class=3,
        mean=read.mean,
        std=read.std,
    )
    save_artefact(tmp_path / "s.safetensors", synthetic, metadata={}, precision="float32")
    few = stillroom("inspect", tmp_path / "s.safetensors", "--picture", "few.png", "--columns", 2)
    assert "few.png shows the first 2 of 3 images a class" in few.out
    assert "few.png shows values from 0 to 1, clipped" in few.out
    every = stillroom("inspect", tmp_path / "s.safetensors", "--picture", "all.png", "--columns", 3)
    assert "images a class" not in every.out
    with Image.open("all.png") as wide, Image.open("few.png") as narrow:
        assert wide.width > narrow.width


def test_columns_without_a_picture_are_refused(stillroom, finished_run):
    said = stillroom("inspect", finished_run, "--columns", 3)
    assert said.code == 2
    assert "--columns is for --picture" in said.error
