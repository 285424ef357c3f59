"""`stillroom privacy` as typed, at toy size."""

import json

import pytest

from core_distill.cli.main import main
from core_distill.engine import current
from core_distill.methods import DistributionMatching

SMALL = ["--delta", "1e-4", "--ipc", "1", "--set", "steps=2", "--set", "width=4", "--set", "depth=2", "--networks", "0"]


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["privacy", "digits", *arguments])
    return stopped.value.code or 0


def test_the_engine_is_where_networks_run_and_in_the_record(tmp_path, capsys, monkeypatch):
    seen = []
    episode = DistributionMatching.episode

    def recorded(self, synthetic, generator):
        seen.append(current().engine.describe())
        yield from episode(self, synthetic, generator)

    monkeypatch.setattr(DistributionMatching, "episode", recorded)
    asked = {"precision": "bfloat16", "compile": False, "piece": 9}
    options = ["--compute", "bfloat16", "--no-compile", "--piece", "9", "--out", str(tmp_path / "run")]
    assert run(*SMALL, *options) == 0
    assert seen == [asked, asked]
    printed = capsys.readouterr().out
    assert "in each of 10 classes, taken as public (counted here: give --class-size" in printed
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["identity"]["engine"] == asked
    assert results["identity"]["protocol"] is None
    assert results["privacy"]["guarantee"]["epsilon"] <= 10
    assert run(*SMALL, "--out", str(tmp_path / "run"), "--compute", "float32") == 2
    assert "engine.precision" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--compute", "float16"], "--compute must be one of auto, float32, bfloat16, got 'float16'"),
        (
            ["--recipe", "mtt"],
            "TrajectoryMatching may look at real data outside its signal (it does not say private = True)",
        ),
        (["--delta", "1"], "delta"),
        (["--epsilon", "3", "--noise-multiplier", "2"], "--epsilon and --noise-multiplier each say how much noise"),
        (["--set", "step_sizes=each"], "recipe dm does not train by the set's step size"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(arguments, told, tmp_path, capsys):
    assert run(*SMALL, "--out", str(tmp_path / "run"), *arguments) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
