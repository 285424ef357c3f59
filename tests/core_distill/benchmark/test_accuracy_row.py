"""What a row is: its recipe with the plan's changes, its network, and a recipe of one's own."""

from pathlib import Path

import pytest

from core_distill.benchmark.accuracy import job_of, run_accuracy
from core_distill.benchmark.accuracy_row import evaluation_network, recipe_of
from core_distill.networks import ConvNet
from tests.core_distill.benchmark.toys import TINY, ignore, plan


def test_changes_reach_what_other_changes_bring():
    job = job_of(
        plan(changes={"images": "multi-formation", "factor": "3", "width": "5"}), Path(), "recipe", "dm", 10, 0
    )
    values = recipe_of(job).values()
    assert (values["images"], values["factor"], values["width"]) == ("multi-formation", 3, 5)


def test_every_row_is_scored_on_one_network():
    jobs = [job_of(plan(network="convnet"), Path(), "recipe", name, 10, 0) for name in ("dm", "kip", "rcig")]
    networks = [evaluation_network(job) for job in jobs]
    assert {network.func for network in networks} == {ConvNet}
    assert all(network.keywords == {"width": 4, "depth": 2} for network in networks)


def test_a_recipe_of_ones_own_has_rows_by_its_files_name(tmp_path, instant, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "own.py").write_text("from core_distill.recipes import dm as mine")
    found = run_accuracy(plan(recipes=("dm", "a/own.py:mine", "b/own.py:mine")), tmp_path / "out", report=ignore)
    assert {"a-own.py-mine-ipc10-seed0", "b-own.py-mine-ipc10-seed0"} <= found["rows"].keys()
    own = next(job for job in instant if job.what == "a/own.py:mine")
    assert own.folder == tmp_path / "out" / "rows" / "a-own.py-mine-ipc10-seed0"
    assert recipe_of(own).values() == recipe_of(job_of(plan(), tmp_path, "recipe", "dm", 10, 0)).values()


OWN = """
import dataclasses
from dataclasses import dataclass
from core_distill.recipes import dm

@dataclass(frozen=True, kw_only=True)
class Mine:
    real: object
    new_network: object
    strength: float = 1.0

def mine(**values):
    return dataclasses.replace(dm(**values), name="mine", method=Mine)
"""


def test_a_value_that_only_a_recipe_of_ones_own_has_may_be_changed(tmp_path, instant):
    (tmp_path / "own.py").write_text(OWN)
    own = f"{tmp_path}/own.py:mine"
    changed = plan(recipes=("dm", own), changes={**TINY, "strength": "2"})
    run_accuracy(changed, tmp_path / "out", report=ignore)
    values = [recipe_of(job).values().get("strength") for job in instant if job.kind == "recipe"]
    assert values == [None, 2.0]
    with pytest.raises(ValueError, match="no recipe has a value strength"):
        run_accuracy(plan(changes={**TINY, "strength": "2"}), tmp_path / "other", report=ignore)


def test_a_file_that_changed_since_its_row_was_measured_is_told(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    own, measured = plan(recipes=(f"{tmp_path}/own.py:mine",)), []

    def done(job):
        measured.append(job.name)
        found = {"bytes": 6_500, "images": 100, "accuracy": {"accuracies": [0.5]}}
        return job.name, {**job.row, **found, "source": recipe_of(job).source if job.kind == "recipe" else ""}

    monkeypatch.setattr("core_distill.benchmark.accuracy.do", done)
    for _ in range(2):
        run_accuracy(own, tmp_path / "out", report=ignore)
    assert len(measured) == 2, "the row and one selection, once"
    results = (tmp_path / "out" / "results.json").read_text()
    (tmp_path / "out" / "results.json").write_text(results.replace("SHA-256 ", "SHA-256 0"))
    with pytest.raises(
        ValueError, match=r"own\.py:mine has changed since .* was measured; choose another output folder"
    ):
        run_accuracy(own, tmp_path / "out", report=ignore)
    assert len(measured) == 2
