"""What `stillroom demo` puts together."""

import dataclasses
import importlib.metadata
import json
from pathlib import Path

import pytest

from core_distill import experiment as experiments
from core_distill.cli.demo_types import DemoRow
from core_distill.evaluation import Protocol


def words(text):
    return " ".join(text.split())


class Point:
    """An entry point that gives `found`, or raises it."""

    def __init__(self, name, found):
        self.name, self._found = name, found

    def load(self):
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.fixture
def small_demo(stillroom, monkeypatch):
    """`small_demo(points)` runs the demo at toy size, with stand-ins for the packages around the core."""
    real = experiments.run_experiment

    def small(experiment, out, **options):
        recipe = experiment.recipe.with_values({"steps": 1, "width": 4, "images_per_class": 1})
        protocol = Protocol(network=recipe.network, num_networks=1, epochs=1)
        return real(dataclasses.replace(experiment, recipe=recipe, protocol=protocol), out, **options)

    def run(points):
        monkeypatch.setattr(experiments, "run_experiment", small)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if "demo" in group else [])
        return stillroom("demo", "--out", "show", "--device", "cpu", "--seed", 3)

    return run


def test_demo_puts_every_number_beside_its_baseline(small_demo):
    seen = []

    def other(context):
        seen.append(context)
        return [DemoRow("another number", "42", "its baseline", "41")]

    said = small_demo([Point("other", other)])
    assert (said.code, said.error) == (0, "")
    table = [words(line) for line in said.out.splitlines()]
    assert "another number 42 its baseline 41" in table
    kept = json.loads(Path("show/demo.json").read_text())
    assert kept["rows"][-1] == {
        "what": "another number",
        "value": "42",
        "baseline": "its baseline",
        "baseline_value": "41",
    }
    for name in ("random", "herding", "kmeans"):
        assert any(f"{name} real images" in line and line.count("%") == 2 for line in table)
    (context,) = seen
    assert context.out == Path("show/other")
    assert (context.seed, context.device, context.data.name) == (3, "cpu", "digits")
    assert len(context.synthetic) == 10
    assert Path("show/distill/results.json").exists()


def test_demo_shows_what_a_missing_part_needs_and_goes_on(small_demo):
    points = [
        Point("federated", ModuleNotFoundError("gone", name="flwr")),
        Point("privacy", lambda context: [DemoRow("a number", "1", "its baseline", "2")]),
    ]
    said = small_demo(points)
    assert said.code == 0
    assert 'federated flwr is not installed; run: pip install "stillroom[federated]"' in words(said.out)
    assert "a number 1 its baseline 2" in words(said.out)


def test_demo_does_not_hide_a_bug(small_demo):
    said = small_demo([Point("federated", ModuleNotFoundError("No module named 'torhc'", name="torhc"))])
    assert said.code == 1
    assert "a mistake of ours" in said.error
