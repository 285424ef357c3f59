import json
import subprocess
import sys

import pytest

from core_distill.cli.demo_types import DemoContext
from core_distill.cli.main import main
from core_distill.engine import current
from core_distill.methods import DistributionMatching
from core_distill.recipes import condense, dm

SMALL = ["--set", "steps=4", "--set", "batch_size=8", "--set", "width=8", "--set", "depth=2", "--epochs", "2"]


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["continual", "digits", *arguments])
    return stopped.value.code or 0


def test_one_table_and_results_json(tmp_path, capsys):
    out = tmp_path / "run"
    assert run("--memory", "20", "--experiences", "2", "--strategy", "ewc", "--out", str(out), *SMALL) == 0
    printed = capsys.readouterr().out
    for name in ("distilled (dm)", "random real images", "none"):
        assert name in printed
    assert "1,396" in printed
    results = json.loads((out / "results.json").read_text())
    assert set(results["runs"]) == {"distilled", "random", "none"}
    distilled = results["runs"]["distilled"]
    assert len(distilled["accuracies"]) == 2
    assert f"{100 * distilled['average_accuracy']:.1f} %" in printed
    assert f"{100 * distilled['forgetting_initial_minus_last']:.1f}" in printed
    assert results["identity"]["recipe"]["values"]["steps"] == 4
    assert results["identity"]["protocol"]["strategy"] == {"name": "EWC", "ewc_lambda": 1.0}
    assert run("--memory", "30", "--experiences", "2", "--out", str(out), *SMALL) == 2
    assert "belongs to another run" in capsys.readouterr().err


def test_a_recipe_of_ones_own_in_a_folder_named_by_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import dataclasses\n"
        "from core_distill.recipes import dm\n"
        "def mine(**values):\n"
        "    return dataclasses.replace(dm(**values), name='mine')\n"
    )
    options = ["--recipe", "own.py:mine", "--memory", "20", "--experiences", "2", *SMALL]
    assert run(*options, "--set", "images_per_class=1") == 0
    assert "distilled (mine)" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("continual-digits-mine-memory20-naive-seed0-batch_size=8-depth=2-images_per_class=1-")


def test_distillation_runs_on_the_engine_that_was_asked_for(tmp_path, monkeypatch):
    seen = []
    episode = DistributionMatching.episode

    def recorded(self, synthetic, generator):
        seen.append(current().engine.describe())
        yield from episode(self, synthetic, generator)

    monkeypatch.setattr(DistributionMatching, "episode", recorded)
    asked = {"precision": "bfloat16", "compile": False, "piece": 9}
    options = ["--compute", "bfloat16", "--no-compile", "--piece", "9"]
    assert run("--memory", "10", "--experiences", "1", "--out", str(tmp_path / "run"), *SMALL, *options) == 0
    assert seen == [asked] * 4
    assert json.loads((tmp_path / "run" / "results.json").read_text())["identity"]["engine"] == asked


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--memory", "9"], "one image of each of 10 classes, got 9"),
        (["--experiences", "3"], "use one of [1, 2, 5, 10]"),
        (["--strategy", "der"], "known: ewc, lwf, naive"),
        (["--recipe", "dccc"], "known: acc-dd, "),
        (["--recipe", "dc", "--set", "labels=soft"], "hard labels"),
        (["--set", "images=latents"], "with images low-rank, multi-formation, pixels, random-basis"),
        (["--compute", "float16"], "--compute must be one of auto, float32, bfloat16"),
    ],
)
def test_bad_options_are_one_line_with_code_2(tmp_path, capsys, arguments, told):
    assert run("--out", str(tmp_path / "run"), *SMALL, *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "run.json").exists(), "the corrected command may have the folder"


def test_demo_rows(digits, tmp_path):
    from continual.demo import demo

    recipe = dm(images_per_class=1, data="digits", schedule="cpu").with_values(
        {"batch_size": 4, "width": 4, "depth": 1}
    )
    synthetic = condense(digits.train, recipe.with_values({"steps": 1}), seed=0)
    rows = demo(DemoContext(digits, recipe, synthetic, tmp_path / "continual", 0, "cpu"))
    assert [row.baseline for row in rows] == ["real images, random", "no replay"]
    assert all("%" in row.value and "%" in row.baseline_value for row in rows)
    assert set(json.loads((tmp_path / "continual" / "results.json").read_text())) == {"distilled", "random", "none"}


def test_importing_the_package_is_cheap_and_a_missing_avalanche_is_named():
    program = """
import sys
import continual, continual.cli
assert "avalanche" not in sys.modules and "torch" not in sys.modules, "not lazy"
assert sorted(continual.__all__) == sorted(continual._HOMES)
sys.modules["avalanche"] = None
try:
    continual.DistilledBuffer
except ModuleNotFoundError as error:
    assert error.name.split(".")[0] == "avalanche", error.name
else:
    raise AssertionError("no error")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_every_public_name_is_there():
    import continual

    assert all(getattr(continual, name) is not None for name in continual.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        continual.nothing  # noqa: B018
