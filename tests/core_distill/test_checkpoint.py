"""Checkpoints: other runs and damaged files are refused, a full disk loses nothing."""

import json
import os
import subprocess
import sys

import pytest
import safetensors.torch
import torch

from core_distill.checkpoint import Checkpoint, CheckpointError, steps_done
from core_distill.files import write_atomically


class Part:
    def __init__(self, value=0.0):
        self.value = torch.tensor(value)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_nothing_there_starts_at_zero(tmp_path):
    assert Checkpoint(tmp_path / "c", identity={}).resume({}) == (0, 0)


def test_round_trip(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c", identity={"seed": 1})
    checkpoint.save(5, 2, {"part": Part(3.5)})
    part = Part()
    assert checkpoint.resume({"part": part}) == (5, 2)
    assert part.value.item() == 3.5


def test_steps_done_are_read_alone_and_are_0_where_there_are_none(tmp_path):
    assert steps_done(tmp_path / "c") == 0
    Checkpoint(tmp_path / "c", identity={"seed": 1}).save(5, 2, {"part": Part(3.5)})
    assert steps_done(tmp_path / "c") == 5
    (tmp_path / "c").write_bytes(b"no checkpoint")
    assert steps_done(tmp_path / "c") == 0


def test_another_run_is_refused_and_named(tmp_path):
    Checkpoint(tmp_path / "c", identity={"seed": 1}).save(1, 1, {})
    with pytest.raises(CheckpointError, match=r"belongs to another run .*seed is 1, now 2"):
        Checkpoint(tmp_path / "c", identity={"seed": 2}).resume({})


@pytest.mark.parametrize("damage", [b"", b"\x80\x04pickle", b"\xff" * 64])
def test_a_damaged_file_is_refused(damage, tmp_path):
    (tmp_path / "c").write_bytes(damage)
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Checkpoint(tmp_path / "c", identity={}).resume({})


def test_a_truncated_file_is_refused_at_every_length(tmp_path):
    path = tmp_path / "c"
    Checkpoint(path, identity={}).save(1, 1, {"part": Part()})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            Checkpoint(path, identity={}).resume({"part": Part()})


def test_what_cannot_be_saved_is_named(tmp_path):
    class Odd(Part):
        def state_dict(self):
            return {"a": {"b": object()}}

    with pytest.raises(TypeError, match="odd/a/b: a object cannot be saved"):
        Checkpoint(tmp_path / "c", identity={}).save(0, 0, {"odd": Odd()})


_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from core_distill.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_atomically(Path(sys.argv[1]), b"n" * 5000)
except OSError as error:
    print(error)
    sys.exit(7)
"""


def test_a_write_that_finds_no_room_keeps_the_last_good_version(tmp_path):
    path = tmp_path / "c"
    write_atomically(path, b"good")
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "its last good version is kept" in done.stdout
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["c"]


def test_a_part_that_is_not_in_the_file_is_named(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c.safetensors", identity={})
    checkpoint.save(1, 1, {})
    with pytest.raises(CheckpointError, match="without extra; delete it"):
        checkpoint.resume({"extra": Part()})


WHOLE = {"identity": {}, "parts": {}, "step": 1, "episode": 1}


@pytest.mark.parametrize("content", [[], {}, {**WHOLE, "parts": [1]}, {**WHOLE, "identity": 3}])
def test_a_file_of_other_content_is_refused(content, tmp_path):
    path = tmp_path / "c"
    path.write_bytes(safetensors.torch.save({}, {"stillroom-checkpoint": json.dumps(content)}))
    with pytest.raises(CheckpointError, match=r"not a checkpoint of stillroom .*delete it to start over"):
        Checkpoint(path, identity={}).resume({})
    assert steps_done(path) == (1 if "step" in content else 0)
