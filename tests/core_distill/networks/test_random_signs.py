"""Signs that are the same everywhere: what was made once is made again, and looks random."""

import hashlib

import pytest
import torch

from core_distill.networks.random_signs import random_signs


def test_they_are_these_for_ever():
    """Files hold a seed alone: other signs would be other images."""
    digest = hashlib.sha256(random_signs(64, 1000, 3, "basis", 2).numpy().tobytes()).hexdigest()
    assert digest.startswith("b73a940a53e7089c")
    assert "".join("-+"[sign > 0] for sign in random_signs(1, 20, 7).flatten()) == "-+--+++--+---++-++--"


def test_they_are_balanced_and_unrelated():
    signs = random_signs(200, 500, 0)
    assert signs.dtype == torch.int8
    assert set(signs.flatten().tolist()) == {-1, 1}
    similar = signs.double() @ signs.double().T / 500
    assert abs(signs.double().mean()) < 0.01
    assert (similar - torch.eye(200)).abs().max() < 6 / 500**0.5


def test_paths_and_seeds_give_others():
    first = random_signs(4, 50, 0, "basis", 0)
    for other in (random_signs(4, 50, 1, "basis", 0), random_signs(4, 50, 0, "basis", 1)):
        assert not torch.equal(first, other)


def test_the_global_generator_stays_where_it_is():
    before = torch.get_rng_state()
    random_signs(10, 10, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="from 0 up"):
        random_signs(2, 2, -1)
