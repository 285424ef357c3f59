import random

import numpy as np
import pytest
import torch

from continual.randomness import seeded_global_generators


def draw():
    return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002


def test_inside_the_seed_decides_and_outside_nothing_has_happened():
    state = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    with seeded_global_generators(3, "stream"):
        first = draw()
    with seeded_global_generators(3, "stream"):
        assert draw() == first
    with seeded_global_generators(4, "stream"):
        assert all(other != value for other, value in zip(draw(), first, strict=True))
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.random.get_state()[1].tolist() == state[1]  # noqa: NPY002
    assert random.getstate() == state[2]


def test_an_error_inside_gives_the_generators_back():
    def fail():
        with seeded_global_generators(0):
            torch.rand(1)
            raise KeyError

    before = torch.get_rng_state()
    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)
