"""The ceiling is a rate, found in either precision."""

import pytest
import torch

from core_distill.benchmark.ceiling import Ceiling, measure_ceiling


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_small_one(precision):
    found = measure_ceiling(torch.device("cpu"), precision, sides=(64,), images=(1,), repeats=1)
    assert found.product > 0
    assert found.convolution > 0


def test_shares_are_of_the_better_one():
    assert Ceiling(3.0, 2.0).best == 3.0
