"""The peak of memory: that it is seen, goes down again, and survives a stop."""

import sys

import pytest
import torch

from core_distill.engine.allocation import keep_freed_memory
from core_distill.peak_memory import Peak, peak_bytes

CPU = torch.device("cpu")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the count cannot start again")
def test_a_large_tensor_is_seen_and_forgotten_by_the_next():
    keep_freed_memory()
    first = Peak(CPU)
    before = first.num_bytes
    tensor = torch.ones(25_000_000)  # 100 MB
    assert first.num_bytes >= before + 90e6
    del tensor
    assert first.num_bytes >= before + 90e6
    assert Peak(CPU).num_bytes < before + 60e6
    assert peak_bytes(CPU) > 1e6


def test_a_resumed_count_knows_the_one_before():
    peak = Peak(CPU)
    peak.load_state_dict({"bytes": 10**15})
    assert peak.num_bytes == peak.state_dict()["bytes"] == 10**15
    peak.load_state_dict({"bytes": 1})
    assert 1e6 < peak.num_bytes < 10**15
