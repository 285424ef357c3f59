"""What the accuracy benchmark writes: a table for people, numbers for programs, and a plot whose names can be read."""

import csv
import itertools
from pathlib import Path

import pytest

from core_distill.benchmark.accuracy import AccuracyPlan, job_of
from core_distill.benchmark.accuracy_lines import beside, lines
from core_distill.benchmark.accuracy_plot import draw
from core_distill.benchmark.accuracy_report import columns, differences, markdown, numbers, table, write_report
from core_distill.benchmark.accuracy_row import differs, recipe_of


def plan(**values):
    settings = {
        "data": "digits",
        "minutes": 0.02,
        "networks": 2,
        "epochs": 2,
        "changes": {"width": "4", "batch_size": "4"},
    }
    return AccuracyPlan(**{**settings, **values})


def row(kind, what, accuracies, num_bytes, *, images_per_class=10, seed=0, **others):
    return {
        "kind": kind,
        "what": what,
        "images_per_class": images_per_class,
        "seed": seed,
        "bytes": num_bytes,
        "images": 10 * images_per_class,
        "accuracy": {"accuracies": accuracies},
        **others,
    }


@pytest.fixture
def results():
    spent = {"steps": 100, "seconds": 360.0, "expert_seconds": 60.0, "start_seconds": 0.0, "peak_bytes": 10**9}
    spent["evaluation_seconds"] = 50.0
    rows = [
        row("baseline", "random", [0.70, 0.72], 7_850),
        row("baseline", "kmeans", [0.80], 7_850),
        row("baseline", "random", [0.75], 9_000, images_per_class=11),
        row("recipe", "dsa", [0.84, 0.86], 7_900, **spent),
        row("recipe", "dsa", [0.85, 0.85], 7_900, seed=1, **spent),
        row("recipe", "frepo", [0.83, 0.83], 9_100, **spent),
        {"kind": "recipe", "what": "dc", "images_per_class": 10, "seed": 0, "failed": "ValueError: no"},
    ]
    shared = {**plan(data="fashion-mnist", network="convnet").shared(), "changes": {}}
    named = {f"{number}": one for number, one in enumerate(rows)}
    return {"shared": shared, "hardware": {"cores": 2, "device": "a processor"}, "commands": ["c"], "rows": named}


def test_differences_are_to_the_real_images_that_the_same_bytes_buy(results):
    cells = {tuple(line[:2]): dict(zip(columns(results), line, strict=True)) for line in table(results)}
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
    assert dsa["trains on"] == "100"
    assert (dsa["published"], frepo["published"]) == ("84.6 %", "~86.2 %")
    assert cells["dc", "10"]["test accuracy"] == "ValueError: no"


def test_columns_are_of_the_selections_that_were_scored(results):
    rows = {name: row for name, row in results["rows"].items() if row["what"] not in ("random", "kmeans")}
    rows["herding"] = row("baseline", "herding", [0.8], 7_850)
    found = {**results, "rows": rows}
    assert [name for name in columns(found) if name.startswith("above")] == ["above herding"]
    assert all(len(line) == len(columns(found)) for line in table(found))


def test_a_row_says_what_is_otherwise_than_published(results):
    recipe = recipe_of(job_of(plan(schedule="cpu"), Path(), "recipe", "dm", 10, 0))
    published = job_of(plan(schedule="paper", changes={}), Path(), "recipe", "dm", 10, 0)
    found = differs(recipe, published)
    assert (found["batch_size"], found["width"], found["steps"]) == ([4, 256], [4, 128], [600, 20_000])
    assert "momentum" not in found
    assert (
        differences({"differs": {"steps": [600, 20_000], "refresh": [3, None]}})
        == "steps 600 for 20000; refresh 3 for None"
    )
    results["rows"]["3"]["differs"] = found
    assert "- dsa, 10 images a class: batch_size 4 for 256; " in markdown(results)
    results["rows"]["3"]["source"] = "rate 10 (on digits' validation part)"
    told = "Values tried on validation images, a few: dsa. On none, so perhaps far from their best: dc, frepo."
    assert told in markdown(results)


def test_the_best_comes_first_and_what_failed_last(results):
    assert [line.what for line in lines(results)] == ["dsa", "frepo", "kmeans", "random", "dc", "random"]


def test_of_several_selections_that_the_bytes_buy_the_best_counts(results):
    results["rows"]["larger"] = row("baseline", "kmeans", [0.70], 9_000, images_per_class=11)
    found = {line.what: line for line in lines(results)}
    assert beside(found["frepo"], "kmeans", lines(results)).accuracy == 0.8


def test_a_selection_says_what_it_cost(results):
    results["rows"]["1"] |= {"start_seconds": 90.0, "peak_bytes": 2 * 10**9}
    cells = {tuple(line[:2]): dict(zip(columns(results), line, strict=True)) for line in table(results)}
    assert (cells["kmeans", "10"]["experts and start, min"], cells["kmeans", "10"]["peak MB"]) == ("1.5", "2000")
    assert (cells["random", "10"]["experts and start, min"], cells["random", "10"]["peak MB"]) == ("", "")


def test_nothing_smaller_is_nothing_to_compare_with(results):
    found = lines(results)
    assert beside(found[0], "herding", found) is None


def test_the_report_says_how_and_draws(results, tmp_path):
    assert write_report(results, tmp_path) == ["accuracy.md", "accuracy.csv", "accuracy.png"]
    text = (tmp_path / "accuracy.md").read_text()
    assert text == f"# Accuracy\n\n{markdown(results)}\n"
    assert "0.02 minutes of distillation; test accuracy of 2 fresh networks (convnet), 2 epochs" in text
    assert (tmp_path / "accuracy.csv").read_text() == numbers(results)
    assert (tmp_path / "accuracy.png").read_bytes()[1:4] == b"PNG"


def test_a_program_reads_numbers_in_columns_that_stay(results):
    header, *rows = csv.reader(numbers(results).splitlines())
    assert header[-2:] == ["above_kmeans", "above_random"], "whatever was scored first"
    found = {(row[0], row[2]): dict(zip(header, row, strict=True)) for row in rows}
    dsa = {name: float(found["dsa", "10"][name]) for name in header[3:-4]}
    assert dsa["accuracy"] == pytest.approx(0.85)
    assert (dsa["images"], dsa["bytes"], dsa["steps"], dsa["seconds"], dsa["expert_seconds"]) == (
        100,
        7_900,
        100,
        360,
        60,
    )
    assert dsa["evaluation_seconds"] == 50
    assert float(found["dsa", "10"]["above_kmeans"]) == pytest.approx(0.05)
    assert found["kmeans", "10"]["above_kmeans"] == ""
    assert found["dc", "10"]["failed"] == "ValueError: no"
    assert found["dc", "10"]["accuracy"] == ""


@pytest.mark.parametrize("budgets", [(10,), (1, 10, 50)])
def test_names_in_the_plot_do_not_cover_each_other(budgets, results, monkeypatch):
    """Forty recipes at the same bytes or three times thirteen, of which many are about as good."""
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    made = {
        f"{name}-{budget}": row(
            "recipe",
            f"recipe-{name}",
            [0.7 + name * 11 % 40 / 300],
            7_850 * budget,
            images_per_class=budget,
            seconds=360.0 + name,
        )
        for name in range(40 // len(budgets))
        for budget in budgets
    }
    draw(lines({**results, "rows": made}))
    (figure,) = figures
    figure.canvas.draw()
    for panel in figure.axes:
        boxes = [text.get_window_extent() for text in panel.texts]
        covered = sum(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        assert covered <= 4


def test_dotted_lines_say_what_they_are(results, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    draw(lines(results))
    _, by_minutes = figures[0].axes
    assert sorted(text.get_text() for text in by_minutes.texts) == sorted(
        ["dsa", "frepo", "kmeans", "random, 10", "random, 11"]
    )


def test_a_line_of_fewer_seeds_says_which(results):
    cells = {line[0]: line[2] for line in table(results)}
    assert cells["dsa"] == "85.0 ± 0.8 %", "it has all that there are, 0 and 1"
    assert cells["frepo"] == "83.0 ± 0.0 % (seed 0)"
    assert cells["kmeans"] == "80.0 % (seed 0)"


def test_a_seed_that_failed_is_told(results):
    results["rows"]["more"] = {"kind": "recipe", "what": "dsa", "images_per_class": 10, "seed": 2, "failed": "a | b"}
    cells = {line[0]: line for line in table(results)}
    assert cells["dsa"][2] == "85.0 ± 0.8 % (1 failed)"
    assert "- dsa: a | b" in markdown(results)
