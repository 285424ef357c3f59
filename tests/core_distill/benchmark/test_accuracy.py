"""The accuracy benchmark: rows in processes of their own, gone on with, beside real images at equal bytes."""

import json

import pytest

from core_distill.benchmark.accuracy import AccuracyPlan, run_accuracy
from core_distill.benchmark.accuracy_job import steps_for
from core_distill.benchmark.accuracy_report import COLUMNS, beside, lines, markdown, table, write_report

TINY = {"width": "4", "depth": "2", "batch_size": "4", "outer_steps": "1"}


def plan(**values):
    settings = {
        "data": "digits",
        "recipes": ("dm", "dc"),
        "minutes": 0.02,
        "networks": 2,
        "epochs": 2,
        "baselines": ("random",),
        "changes": TINY,
    }
    return AccuracyPlan(**{**settings, **values})


def ignore(results):
    pass


def row(kind, what, accuracies, num_bytes, *, images_per_class=10, seed=0, **others):
    return {
        "kind": kind,
        "what": what,
        "images_per_class": images_per_class,
        "seed": seed,
        "bytes": num_bytes,
        "accuracy": {"accuracies": accuracies},
        **others,
    }


@pytest.fixture
def results():
    spent = {"steps": 100, "seconds": 360.0, "expert_seconds": 60.0, "start_seconds": 0.0, "peak_bytes": 10**9}
    rows = [
        row("baseline", "random", [0.70, 0.72], 7_850),
        row("baseline", "kmeans", [0.80], 7_850),
        row("baseline", "random", [0.75], 9_000, images_per_class=11),
        row("recipe", "dsa", [0.84, 0.86], 7_900, **spent),
        row("recipe", "dsa", [0.85, 0.85], 7_900, seed=1, **spent),
        row("recipe", "frepo", [0.83, 0.83], 9_100, **spent),
        {"kind": "recipe", "what": "dc", "images_per_class": 10, "seed": 0, "failed": "ValueError: no"},
    ]
    shared = {**plan(data="fashion-mnist").shared(), "changes": {}}
    named = {f"{number}": one for number, one in enumerate(rows)}
    return {"shared": shared, "hardware": {"cores": 2, "device": "a processor"}, "commands": ["c"], "rows": named}


def test_differences_are_to_the_real_images_that_the_same_bytes_buy(results):
    cells = {tuple(line[:2]): dict(zip(COLUMNS, line, strict=True)) for line in table(results)}
    dsa, frepo = cells["dsa", "10"], cells["frepo", "10"]
    assert dsa["test accuracy"] == "85.0 ± 0.8 %"
    assert (dsa["above random"], dsa["above kmeans"]) == ("+14.0", "+5.0")
    assert (frepo["above random"], frepo["above kmeans"]) == ("+8.0", "+3.0")
    assert (dsa["steps"], dsa["minutes"], dsa["experts and start, min"], dsa["peak MB"]) == (
        "100",
        "6.0",
        "1.0",
        "1000",
    )
    assert (dsa["published"], frepo["published"]) == ("84.6 %", "~86.2 %")
    assert cells["dc", "10"]["test accuracy"] == "ValueError: no"


def test_the_best_comes_first_and_what_failed_last(results):
    assert [line.what for line in lines(results)] == ["dsa", "frepo", "kmeans", "random", "dc", "random"]


def test_nothing_smaller_is_nothing_to_compare_with(results):
    found = lines(results)
    assert beside(found[0], "herding", found) is None


def test_the_report_says_how_and_draws(results, tmp_path):
    assert write_report(results, tmp_path) == ["accuracy.md", "accuracy.csv", "accuracy.png"]
    text = (tmp_path / "accuracy.md").read_text()
    assert text == markdown(results)
    assert "0.02 minutes of distillation; test accuracy of 2 fresh networks, 2 epochs" in text
    assert "~86.2 %" in (tmp_path / "accuracy.csv").read_text()
    assert (tmp_path / "accuracy.png").read_bytes()[1:4] == b"PNG"


def test_the_later_half_of_the_first_steps_says_what_a_step_takes():
    assert steps_for(1.0, [10.0, 10.5, 11.0, 11.5, 12.0]) == 120
    assert steps_for(1.0, [30.0]) == 2
    assert steps_for(1e-9, [1.0, 2.0]) == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipes": ("dm", "nope")}, "no recipe is called nope; known: "),
        ({"recipes": ()}, "no recipe is called nothing"),
        ({"baselines": ("worst",)}, "unknown baseline worst"),
        ({"minutes": -1.0}, "minutes must be 0 or more"),
        ({"minutes": float("nan")}, "minutes must be 0 or more"),
        ({"budgets": ()}, "there must be a budget"),
    ],
)
def test_bad_plans_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        plan(**values)


def test_rows_are_measured_once_others_join_and_a_failure_stands_alone(tmp_path):
    seen = []
    out = tmp_path / "bench"
    first = run_accuracy(
        plan(recipes=("dm",)), out, command="first", report=lambda results: seen.append(len(results["rows"]))
    )
    assert sorted(first["rows"]) == ["dm-ipc10-seed0", "random-ipc10-seed0"]
    assert seen == [1, 2, 2]
    dm = first["rows"]["dm-ipc10-seed0"]
    assert dm["steps"] >= 1
    assert dm["bytes"] < 10 * 10 * 66
    assert dm["peak_bytes"] > 10**7
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
