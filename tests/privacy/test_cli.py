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


def test_a_recipe_of_ones_own_that_counts_no_records_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import dataclasses\n"
        "from dataclasses import dataclass\n"
        "from core_distill.recipes import dm\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Mine:\n"
        "    real: object\n"
        "    new_network: object\n"
        "    private = True\n"
        "def mine(**values):\n"
        "    return dataclasses.replace(dm(**values), name='mine', method=Mine)\n"
        "def plain(**values):\n"
        "    return dataclasses.replace(dm(**values), name='plain')\n"
    )
    assert run(*SMALL, "--recipe", "own.py:mine") == 2
    assert "recipe mine has no batch_size, the records a class in a loss" in capsys.readouterr().err
    assert run(*SMALL, "--recipe", "own.py:plain") == 0
    folders = [folder.name for folder in (tmp_path / "runs").iterdir()]
    assert folders == ["digits-plain-ipc1-private-seed0-depth=2-steps=2-width=4"]


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


def test_a_picture_is_told_with_what_it_leaves_out_and_only_where_there_is_one(tmp_path, capsys):
    assert run(*SMALL, "--set", "images_per_class=21", "--out", str(tmp_path / "run")) == 0
    printed = capsys.readouterr().out
    assert "synthetic.safetensors and images.png for release" in printed
    assert "images.png shows the first 20 of 21 images a class" in printed
    texts = ["docstrings", *SMALL[:4], "--set", "steps=2", "--networks", "0", "--out", str(tmp_path / "texts")]
    with pytest.raises(SystemExit) as stopped:
        main(["privacy", *texts, "--set", "network=text-cnn", "--set", "augment="])
    assert not stopped.value.code
    assert "synthetic.safetensors for release" in capsys.readouterr().out


def test_a_stopped_run_says_where_it_goes_on(tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    out = ["--out", str(tmp_path / "run")]
    with monkeypatch.context() as patched:
        patched.setattr("privacy.experiment.save_artefact", stop)
        assert run(*SMALL, *out) != 0
    assert "going on" not in capsys.readouterr().out
    assert run(*SMALL, *out) == 0
    assert f"going on after step 2, which {tmp_path / 'run'} holds" in "".join(capsys.readouterr().out.splitlines())
    assert run(*SMALL, *out) == 0
    assert "going on" not in capsys.readouterr().out
