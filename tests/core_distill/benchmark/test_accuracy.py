"""The accuracy benchmark: rows in processes of their own, gone on with, beside real images at equal bytes."""

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core_distill.benchmark.accuracy import run_accuracy
from core_distill.benchmark.accuracy_job import _PROGRAM, answer
from core_distill.benchmark.accuracy_row import Job
from tests.core_distill.benchmark.toys import TINY, ignore, plan


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipes": ("dm", "nope")}, "no recipe is called nope; known: "),
        ({"network": "vgg"}, "no network is called vgg; known: convnet, "),
        ({"networks": 0}, "must be at least 1"),
        ({"epochs": -1}, "must be at least 1"),
        ({"budgets": (10, 0)}, "must be at least 1"),
        ({"baselines": ("worst",)}, "unknown baseline worst"),
        ({"minutes": -1.0}, "minutes must be 0 or more"),
        ({"minutes": float("nan")}, "minutes must be 0 or more"),
        ({"budgets": ()}, "there must be a budget"),
    ],
)
def test_bad_plans_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        plan(**values)


def test_changes_that_nothing_takes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no recipe has a value stepz"):
        run_accuracy(plan(changes={**TINY, "stepz": "3"}), tmp_path / "out", report=ignore)


def test_a_recipe_that_is_refused_leaves_the_others_alone(tmp_path, instant):
    found = run_accuracy(plan(changes={**TINY, "labels": "soft"}), tmp_path / "out", report=ignore)
    assert "gives no gradient to labels" in found["rows"]["dm-ipc10-seed0"]["failed"]
    assert found["rows"]["dc-ipc10-seed0"]["accuracy"]


def test_a_budget_above_the_smallest_class_is_refused_before_anything_is_measured(tmp_path, instant):
    with pytest.raises(ValueError, match="1000 images a class were asked for, and the smallest class of digits has"):
        run_accuracy(plan(budgets=(1, 1000)), tmp_path / "out", report=ignore)
    assert instant == []
    assert not (tmp_path / "out").exists()


def test_by_default_every_recipe_that_reads_such_data(tmp_path, instant):
    run_accuracy(plan(recipes=()), tmp_path / "out", report=ignore)
    asked = {job.what for job in instant}
    assert asked >= {"dm", "idc", "kip", "rcig"}
    assert "sldd-text" not in asked


def test_experts_are_trained_once_and_not_for_rows_that_are_there(tmp_path, instant):
    first = plan(recipes=("mtt", "tesla"))
    run_accuracy(first, tmp_path / "out", report=ignore)
    assert [job.what for job in instant if job.kind == "experts"] == ["tesla"]
    instant.clear()
    run_accuracy(first, tmp_path / "out", report=ignore)
    assert instant == []


def test_rows_that_another_process_measured_meanwhile_stay(tmp_path, instant):
    def joined(results):
        if "dc-ipc10-seed0" not in results["rows"]:
            run_accuracy(plan(recipes=("dc",)), tmp_path / "out", report=ignore)

    found = run_accuracy(plan(recipes=("dm",)), tmp_path / "out", report=joined)
    assert {"dm-ipc10-seed0", "dc-ipc10-seed0"} <= found["rows"].keys()


def test_a_row_that_is_interrupted_leaves_the_word_to_who_asked():
    row = subprocess.Popen([sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    while row.poll() is None and "libtorch" not in Path(f"/proc/{row.pid}/maps").read_text():
        time.sleep(0.05)
    row.send_signal(signal.SIGINT)
    _, said = row.communicate(timeout=30)
    assert (row.returncode, said) == (-signal.SIGINT, b"")


def test_killed_before_the_first_row_it_goes_on(tmp_path, monkeypatch):
    def killed(job):
        job.folder.mkdir(parents=True, exist_ok=True)  # as a row begins
        raise KeyboardInterrupt

    monkeypatch.setattr("core_distill.benchmark.accuracy.do", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_accuracy(plan(), tmp_path / "out", report=ignore)


@pytest.fixture
def measured(monkeypatch):
    """Rows that are written by who was asked for them, as fresh processes do; returns who was."""
    asked = []

    def run(command, **options):
        job = Job(**json.loads(options["input"]))
        asked.append(job.name)
        found = {"bytes": 6_500, "images": 100, "accuracy": {"accuracies": [0.5]}}
        monkeypatch.setattr("core_distill.benchmark.accuracy_job._baseline", lambda job: found)
        monkeypatch.setattr("core_distill.benchmark.accuracy_job._distilled", lambda job: found)
        monkeypatch.setattr("sys.stdin", io.StringIO(options["input"]))
        answer()
        return subprocess.CompletedProcess(command, 0, stdout="")

    monkeypatch.setattr("core_distill.benchmark.accuracy_job.subprocess.run", run)
    return asked


@pytest.mark.parametrize("again", [("dm", "dc"), ("dm",)], ids=["same recipes", "one of them"])
def test_damaged_results_are_deleted_and_measured_rows_are_back(tmp_path, measured, again):
    first = run_accuracy(plan(), tmp_path, command="first", report=ignore)
    assert sorted(measured) == ["dc-ipc10-seed0", "dm-ipc10-seed0", "random-ipc10-seed0"]
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(
        ValueError, match=r"results\.json is damaged .*delete it: rows that were measured are found again"
    ):
        run_accuracy(plan(), tmp_path, report=ignore)
    (tmp_path / "results.json").unlink()
    with pytest.raises(ValueError, match=r"belongs to another benchmark \(epochs is 2, now 3\)"):
        run_accuracy(plan(epochs=3), tmp_path, report=ignore)
    found = run_accuracy(plan(recipes=again), tmp_path, command="second", report=ignore)
    assert len(measured) == 3
    assert found == {**first, "commands": ["second"]}


def test_what_the_plan_says_is_there_before_the_first_row(tmp_path, measured, monkeypatch):
    def killed(job):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("core_distill.benchmark.accuracy.do", killed)
        with pytest.raises(KeyboardInterrupt):
            run_accuracy(plan(), tmp_path, report=ignore)
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["shared"]["epochs"] == 2
    assert written["hardware"]["cores"] >= 1


def test_a_folder_with_results_alone_is_opened_and_says_its_plan_from_then_on(tmp_path, measured):
    first = run_accuracy(plan(), tmp_path, report=ignore)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(ValueError, match="belongs to another benchmark"):
        run_accuracy(plan(epochs=3), tmp_path, report=ignore)
    assert not (tmp_path / "plan.json").exists()
    assert run_accuracy(plan(), tmp_path, report=ignore) == first
    assert len(measured) == 3
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written == {name: first[name] for name in ("shared", "hardware")}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"shared": 1, "hardware": {}}'])
def test_a_damaged_plan_is_told_and_written_again(tmp_path, measured, text):
    first = run_accuracy(plan(), tmp_path, report=ignore)
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=r"plan\.json is damaged .*delete it: it is written again"):
        run_accuracy(plan(), tmp_path, report=ignore)
    (tmp_path / "plan.json").unlink()
    assert run_accuracy(plan(), tmp_path, report=ignore) == first
    assert (tmp_path / "plan.json").exists()


def test_results_of_another_benchmark_beside_a_plan_are_refused(tmp_path, measured):
    run_accuracy(plan(epochs=3), tmp_path / "other", report=ignore)
    run_accuracy(plan(), tmp_path / "own", report=ignore)
    shutil.copy(tmp_path / "other" / "results.json", tmp_path / "own" / "results.json")
    with pytest.raises(ValueError, match=r"belongs to another benchmark \(epochs is 3, now 2\)"):
        run_accuracy(plan(), tmp_path / "own", report=ignore)


@pytest.mark.parametrize("text", ["{", "[]", '{"shared": {}}'])
def test_damaged_results_that_alone_said_whose_they_are(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ValueError, match=r"is damaged .*; choose another output folder with --out"):
        run_accuracy(plan(), tmp_path, report=ignore)


def test_rows_are_measured_once_others_join_and_a_failure_stands_alone(tmp_path, capfd):
    seen = []
    out = tmp_path / "bench"
    first = run_accuracy(
        plan(recipes=("dm",)), out, command="first", report=lambda results: seen.append(len(results["rows"]))
    )
    assert sorted(first["rows"]) == ["dm-ipc10-seed0", "random-ipc10-seed0"]
    assert seen == [1, 2, 2]
    said = capfd.readouterr().err
    assert "random-ipc10-seed0: choosing real images\n" in said
    assert "dm-ipc10-seed0: counting how many steps 0.02 minutes are worth\n" in said
    assert f"dm-ipc10-seed0: steps: {first['rows']['dm-ipc10-seed0']['steps']:,}\n" in said
    assert "dm-ipc10-seed0: training 2 networks on 100 images\n" in said
    dm = first["rows"]["dm-ipc10-seed0"]
    assert dm["steps"] >= 1
    assert dm["bytes"] < 10 * 10 * 66
    assert dm["peak_bytes"] > 10**7
    chosen = first["rows"]["random-ipc10-seed0"]
    assert chosen["peak_bytes"] > 10**7
    assert chosen["start_seconds"] >= 0
    assert len(dm["accuracy"]["accuracies"]) == 2

    broken = out / "rows" / "dc-ipc10-seed0" / "run"
    broken.mkdir(parents=True)
    (broken / "somebody's").write_text("file")
    both = run_accuracy(plan(recipes=("dm", "dc")), out, command="second", report=ignore)
    assert both["rows"]["dm-ipc10-seed0"] == dm
    assert "is not a run of stillroom" in both["rows"]["dc-ipc10-seed0"]["failed"]
    (broken / "somebody's").unlink()
    again = run_accuracy(plan(recipes=("dm", "dc")), out, command="second", report=ignore)
    assert again["rows"]["dc-ipc10-seed0"]["accuracy"]
    assert again["commands"] == ["first", "second"]
    assert json.loads((out / "results.json").read_text()) == again
    with pytest.raises(ValueError, match=r"belongs to another benchmark \(epochs is 2, now 3\)"):
        run_accuracy(plan(epochs=3), out, report=ignore)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ValueError, match="holds no accuracy benchmark; choose another output folder with --out"):
        run_accuracy(plan(), tmp_path, report=ignore)
