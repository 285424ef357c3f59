"""`stillroom benchmark speed` as typed."""

import pytest

from core_distill.benchmark import speed
from core_distill.benchmark.ceiling import Ceiling

ARGUMENTS = "benchmark speed --ipc 2,1 --classes 2,3 --side 8 --width 4 --batch-real 4 --real-images 20 --rounds 1"


@pytest.fixture(autouse=True)
def known_ceiling(monkeypatch):
    """The measurement of the machine takes seconds."""
    monkeypatch.setattr(speed, "measure_ceiling", lambda device, precision: Ceiling(1.0, 2.0))


def test_the_command_at_toy_size(stillroom, tmp_path):
    arguments = [*ARGUMENTS.split(), "--work", "dm,mtt", "--inner-steps", "2,1", "--no-memory", "--no-compile"]
    said = stillroom(*arguments)
    assert (said.code, said.error) == (0, "")
    folder = tmp_path / "here" / "runs" / "benchmark-speed"
    assert sorted(file.name for file in folder.iterdir()) == [
        "results.json",
        "run.json",
        "speed.csv",
        "speed.md",
        "speed.png",
    ]
    assert f"written: {folder.relative_to(tmp_path / 'here')}/results.json" in said.out
    before = (folder / "results.json").read_bytes()
    assert stillroom(*arguments).code == 0
    assert (folder / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--work", ""], "--work takes names with commas"),
        (["--compute", ""], "--compute takes names with commas"),
        (["--work", "dc,none"], "work must be chosen from dc, dsa, dm"),
        (["--ipc", "ten"], "--ipc takes whole numbers with commas, such as 10,1,50; got 'ten'"),
        (["--peer", "nowhere"], "nowhere is no checkout of mtt-distillation"),
    ],
)
def test_bad_input_is_told(arguments, told, stillroom):
    said = stillroom("benchmark", "speed", *arguments)
    assert said.code == 2
    assert told in said.error
