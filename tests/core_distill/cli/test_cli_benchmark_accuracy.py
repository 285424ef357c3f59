"""`stillroom benchmark accuracy` as typed: what reaches the plan, what is printed and written."""

import shlex
import sys
from pathlib import Path

import pytest

from core_distill.benchmark.accuracy import AccuracyPlan
from core_distill.cli.options import DATA_HELP
from core_distill.engine import Engine
from core_distill.evaluation import BASELINES
from core_distill.networks import NETWORKS


@pytest.fixture
def asked(monkeypatch):
    """Nothing is measured: what `run_accuracy` was given, with two rows that it answers and reports."""
    seen = []

    def answer(plan, out, *, command, processes, ray_address, report):
        seen.append((plan, out, command, processes, ray_address))
        rows = {
            "dm-ipc1-seed0": {"kind": "recipe", "what": "dm", "accuracy": {"accuracies": [0.5, 0.7]}, "steps": 40},
            "random-ipc1-seed0": {"kind": "baseline", "what": "random", "accuracy": {"accuracies": [0.4]}},
        }
        rows = {
            name: {**row, "images_per_class": 1, "seed": 0, "bytes": 650, "images": 10} for name, row in rows.items()
        }
        results = {
            "shared": {**plan.shared(), "network": plan.network or "convnet"},
            "hardware": {"cores": 2, "device": "a processor"},
            "commands": [command],
            "rows": rows,
        }
        report(results)
        return results

    monkeypatch.setattr("core_distill.benchmark.accuracy.run_accuracy", answer)
    return seen


OPTIONS = shlex.split("""benchmark accuracy --data digits --recipes dm,dsa --ipc 1,10 --seeds 0,1 --budget-minutes 0.5 --network mlp
--networks 2 --epochs 7 --baselines random,herding --set width=4 --set depth=2 --schedule paper --jobs 3 --ray local
--out there --data-dir files --device cpu --compute bfloat16 --no-compile --piece 64""")


def test_every_option_reaches_the_plan(stillroom, asked, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stillroom", *OPTIONS])
    assert stillroom(*OPTIONS).code == 0
    plan = AccuracyPlan(
        data="digits",
        data_dir=Path("files"),
        recipes=("dm", "dsa"),
        budgets=(1, 10),
        seeds=(0, 1),
        minutes=0.5,
        baselines=("random", "herding"),
        network="mlp",
        networks=2,
        epochs=7,
        schedule="paper",
        device="cpu",
        engine=Engine(precision="bfloat16", compile=False, piece=64),
        changes={"width": "4", "depth": "2"},
    )
    assert asked == [(plan, Path("there"), " ".join(["stillroom", *OPTIONS]), 3, "local")]


def test_without_options_it_is_the_librarys_plan_for_fashion_mnist(stillroom, asked):
    assert stillroom("benchmark", "accuracy", "--device", "cpu", "--compute", "float32").code == 0
    ((plan, out, _, processes, ray_address),) = asked
    assert plan == AccuracyPlan(data="fashion-mnist", schedule="cpu")
    assert (out, processes, ray_address) == (Path("runs/benchmark-accuracy-fashion-mnist"), 1, "")


def test_of_a_folder_the_results_go_by_its_name(stillroom, asked, tmp_path):
    assert stillroom("benchmark", "accuracy", "--data", tmp_path / "cups").code == 0
    assert asked[0][1] == Path("runs/benchmark-accuracy-cups")


def test_the_table_is_printed_and_the_report_written(stillroom, asked):
    said = stillroom("benchmark", "accuracy", "--data", "digits", "--out", "there")
    assert (said.code, said.error) == (0, "")
    assert said.out.splitlines()[0] == "2 rows in there"
    assert said.out.splitlines()[1] == "Test accuracy"
    lines = [line.split() for line in said.out.splitlines()[3:5]]
    assert lines[0][:6] == ["dm", "1", "60.0", "±", "14.1", "%"]
    assert "+20.0" in lines[0]
    assert lines[1][:4] == ["random", "1", "40.0", "%"]
    assert said.out.splitlines()[-1] == "written: there/results.json, accuracy.md, accuracy.csv, accuracy.png"
    assert sorted(file.name for file in Path("there").iterdir()) == ["accuracy.csv", "accuracy.md", "accuracy.png"]


@pytest.mark.parametrize("missing", ["matplotlib", "adjustText"])
def test_without_what_draws_the_plot_alone_is_missing(missing, stillroom, asked, monkeypatch):
    class Finder:
        """Finds modules where one is not installed."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == missing:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    said = stillroom("benchmark", "accuracy", "--data", "digits", "--out", "there")
    assert said.code == 0
    assert said.error == f'no plot: {missing} is not installed; run: pip install "stillroom[benchmark]"\n'
    assert said.out.splitlines()[-1] == "written: there/results.json, accuracy.md, accuracy.csv"
    assert sorted(file.name for file in Path("there").iterdir()) == ["accuracy.csv", "accuracy.md"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--ipc", "ten"], "--ipc takes whole numbers with commas, such as 10,1,50; got 'ten'"),
        (["--seeds", ""], "--seeds takes whole numbers with commas"),
        (["--recipes", "dm,nope"], "no recipe is called nope"),
        (["--recipes", " ,"], "--recipes takes names with commas"),
        (["--baselines", "worst"], "unknown baseline worst; known: random, "),
        (["--network", "vgg"], "no network is called vgg"),
        (["--set", "width"], "--set takes NAME=VALUE, got 'width'"),
        (["--schedule", "fast"], "--schedule must be one of auto, paper, cpu"),
    ],
)
def test_bad_input_is_told(stillroom, asked, options, told):
    said = stillroom("benchmark", "accuracy", *options)
    assert (said.code, asked) == (2, [])
    assert told in said.error


def test_the_help_names_data_networks_and_baselines(stillroom, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    told = "".join(stillroom("benchmark", "accuracy", "--help").out.split())
    assert "".join(DATA_HELP.split()) in told
    assert f"withcommas:{','.join(BASELINES)}" in told
    assert all(name in told for name in NETWORKS)
