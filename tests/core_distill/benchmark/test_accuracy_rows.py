"""Rows of the accuracy benchmark: what is scored on what, and which real images their bytes ask for."""

import functools

import pytest
import torch

from core_distill.augment import dsa_for
from core_distill.benchmark import accuracy_job
from core_distill.benchmark.accuracy import AccuracyPlan, job_of, run_accuracy
from core_distill.data import random_coreset
from core_distill.evaluation import Protocol, Score
from core_distill.networks import ConvNet
from core_distill.randomness import derive_generator
from core_distill.synthetic.storage import load_artefact

ONE_OF_EACH = 10 * (64 + 1)
"""What one image of each class of digits costs."""


def plan(**values):
    return AccuracyPlan(data="digits", minutes=0.0, networks=2, epochs=7, baselines=("random",), **values)


@pytest.fixture
def scored(monkeypatch):
    """What is trained on, and tested how."""
    calls = []

    def spy(train, test, protocol, *, seed, engine):
        calls.append((train, test.digest(), protocol.describe(), seed))
        return Score((0.25, 0.75))

    monkeypatch.setattr(accuracy_job, "evaluate", spy)
    return calls


@pytest.mark.parametrize(("kind", "what"), [("recipe", "dm"), ("baseline", "random")])
def test_a_row_is_scored_on_test_images_by_the_plan(kind, what, tmp_path, digits, scored):
    changes = {"width": "4", "depth": "2", "batch_size": "4", "steps": "2"}
    job = job_of(plan(network="convnet", changes=changes), tmp_path, kind, what, 2, 3)
    row = {"recipe": accuracy_job._distilled, "baseline": accuracy_job._baseline}[kind](job)
    assert row["accuracy"] == Score((0.25, 0.75)).as_json()
    network = functools.partial(ConvNet, width=4, depth=2)
    protocol = Protocol(network=network, num_networks=2, epochs=7, augment=dsa_for("digits"))
    ((train, *how),) = scored
    assert how == [digits.test.digest(), protocol.describe(), 3]
    if kind == "recipe":
        expected = load_artefact(job.folder / "run").synthetic.batch()
    else:
        chosen = random_coreset(digits.train, 2, derive_generator(3, "baseline", "random"))
        expected = digits.train.take(chosen)
    assert torch.equal(train.images, expected.images)
    assert torch.equal(train.labels, expected.labels)


def test_real_images_are_chosen_at_the_bytes_that_recipes_have(tmp_path, monkeypatch):
    sizes = {"dm": 11 * ONE_OF_EACH, "dc": 8 * ONE_OF_EACH - 1, "random": 5 * ONE_OF_EACH}

    def done(job):
        measured = {"failed": "no"} if job.what == "dsa" else {"bytes": sizes[job.what], "accuracy": {}}
        return job.name, job.row | measured

    monkeypatch.setattr("core_distill.benchmark.accuracy.do", done)
    found = run_accuracy(plan(recipes=("dm", "dc", "dsa")), tmp_path / "out", report=lambda results: None)
    chosen = {name for name, row in found["rows"].items() if row["kind"] == "baseline"}
    assert chosen == {"random-ipc10-seed0", "random-ipc11-seed0", "random-ipc7-seed0"}
