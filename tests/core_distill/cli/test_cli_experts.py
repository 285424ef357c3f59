"""`stillroom experts`, and how `distill` finds what it made."""

import json
from pathlib import Path

import pytest

SMALL = ("--set", "width=4", "--set", "training_images=40", "--set", "training_epochs=2", "--set", "max_start=1")
TINY = (*SMALL, "--set", "num_experts=2", "--set", "steps=2", "--set", "inner_steps=1")


@pytest.fixture
def made(stillroom):
    return stillroom("experts", "digits", "--number", 2, *SMALL)


def folder():
    (found,) = Path("runs").glob("experts-digits-*")
    return found


def test_it_trains_and_says_how_well_on_validation(made):
    assert (made.code, made.error) == (0, "")
    assert sorted(path.name for path in folder().iterdir()) == [
        "expert-000.safetensors",
        "expert-001.safetensors",
        "seconds.json",
    ]
    assert f"2 experts of 2 epochs in {folder()}, trained in " in made.out
    assert "validation accuracy after the last epoch: " in made.out
    assert "match them with: stillroom distill digits --recipe mtt --set num_experts=2 --set width=4" in made.out
    assert "train experts 4/4  epochs" in made.out


def test_no_expert_is_judged_on_the_test_set(stillroom, digits, monkeypatch):
    judged = []
    monkeypatch.setattr("core_distill.evaluation.accuracy", lambda net, data: judged.append(len(data)) or 0.25)
    said = stillroom("experts", "digits", "--number", 1, *SMALL)
    assert judged == [len(digits.validation)]
    assert "25.0 %" in said.out


def test_the_same_command_trains_nothing_again_and_a_larger_number_adds(made, stillroom):
    before = {path: path.read_bytes() for path in folder().glob("*.safetensors")}
    again = stillroom("experts", "digits", "--number", 2, *SMALL)
    assert again.code == 0
    assert "train experts" not in again.out
    stillroom("experts", "digits", "--number", 3, *SMALL)
    after = {path: path.read_bytes() for path in folder().glob("*.safetensors")}
    assert len(after) == 3
    assert {path: after[path] for path in before} == before


def test_distill_finds_them_and_says_what_they_cost(made, stillroom, monkeypatch):
    monkeypatch.setattr("core_distill.training.expert_training.train_group", None)
    for recipe in ("mtt", "tesla"):
        options = ["--ipc", 1, "--networks", 0, *TINY, "--out", f"{recipe}-run"]
        said = stillroom("distill", "digits", "--recipe", recipe, *options)
        assert (said.code, said.error) == (0, "")
        results = json.loads(Path(f"{recipe}-run/results.json").read_text())
        trained = json.loads((folder() / "seconds.json").read_text())
        assert results["expert_seconds"] == round(sum(trained.values()), 1)
        assert results["distillation_seconds"] > 0
        assert "s, in whichever run trained them" in said.out


def test_distill_trains_them_where_there_are_none(stillroom):
    said = stillroom("distill", "digits", "--recipe", "mtt", "--ipc", 1, "--networks", 0, *TINY, "--experts", "mine")
    assert (said.code, said.error) == (0, "")
    assert len(list(Path("mine").glob("*.safetensors"))) == 2
    assert "train experts 4/4" in said.out


def test_experts_of_a_recipe_of_ones_own_are_trained_in_this_process(stillroom):
    Path("own.py").write_text("from core_distill.recipes import mtt as mine")
    said = stillroom("experts", "digits", "--recipe", "own.py:mine", "--number", 1, *SMALL, "--jobs", 2)
    assert said.code == 2
    assert "other processes do not know what own.py:mine defines: leave --jobs and --ray out" in said.error
    assert stillroom("experts", "digits", "--recipe", "own.py:mine", "--number", 1, *SMALL).code == 0
    assert len(list(Path("runs").glob("*/expert-*.safetensors"))) == 1


def test_experts_of_something_else_are_refused(made, stillroom):
    arguments = ["digits", "--recipe", "mtt", "--ipc", 1, "--networks", 0, *TINY, "--experts", folder(), "--out", "run"]
    said = stillroom("distill", *arguments, "--set", "width=5")
    assert said.code == 2
    assert "is an expert of something else (network.options.width is 4, now 5)" in said.error
    assert "choose another folder for these experts" in said.error
    assert not Path("run/run.json").exists(), "the run's folder is given up again"


def test_the_folder_of_a_run_is_no_place_for_experts(stillroom, finished_run):
    before = sorted(finished_run.iterdir())
    for command in (["distill", "digits", "--recipe", "mtt", "--experts"], ["experts", "digits", "--out"]):
        said = stillroom(*command, finished_run, *SMALL)
        assert said.code == 2
        assert (
            f"{finished_run} is the folder of a run, which is no place for experts; choose another folder" in said.error
        )
    assert sorted(finished_run.iterdir()) == before


def test_bad_input(stillroom):
    said = stillroom("experts", "digits", "--recipe", "dm")
    assert said.code == 2
    assert said.error.startswith("error: recipe dm uses no experts; --recipe takes acc-dd, ")
    assert {"mtt,", "ftd,", "tesla"} <= set(said.error.split())
    said = stillroom("experts", "digits", *SMALL, "--set", "training_rate=1e30")
    assert said.code == 2
    assert "expert 0 is not finite after epoch " in said.error
    said = stillroom("experts", "digits", *SMALL, "--network", "transformer")
    assert said.code == 2
    assert "network must be one of convnet" in said.error


def test_a_stretch_too_long_is_told_before_distilling(made, stillroom):
    said = stillroom("distill", "digits", "--recipe", "mtt", "--ipc", 1, *TINY, "--set", "max_start=5")
    assert said.code == 2
    assert "these have 2: choose a max_start of at most 2" in said.error
