"""Streams are repeatable, different for different paths, and use the whole state of the generator."""

import numpy as np
import pytest
import torch

from core_distill.randomness import derive_generator


def draw(*arguments):
    return torch.rand(8, generator=derive_generator(*arguments))


def test_the_same_path_gives_the_same_numbers_and_others_do_not():
    paths = [(0,), (1,), (0, 0), (0, 1), (0, 0, 0), (0, "a"), (0, "b"), (0, "a", 0), (2**32,), (2**64, 1)]
    draws = [draw(*path) for path in paths]
    assert all(torch.equal(draw(*path), first) for path, first in zip(paths, draws, strict=True))
    assert len({tuple(values.tolist()) for values in draws}) == len(paths)


def test_the_stream_is_a_mersenne_twister_filled_from_the_seed_sequence():
    """PyTorch alone would keep 32 bits of a seed; numpy's own twister in the same state gives the same numbers."""
    words = np.random.SeedSequence(5, spawn_key=[7]).generate_state(624, np.uint32)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    expected = [int(number) % 1000 for number in twister.random_raw(2000)]
    assert torch.randint(1000, (2000,), generator=derive_generator(5, 7)).tolist() == expected


def test_numbers_are_uniform_and_streams_uncorrelated():
    first, second = (torch.rand(20_000, generator=derive_generator(0, path), dtype=torch.float64) for path in (0, 1))
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.std() - 12**-0.5) < 0.01
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.03


@pytest.mark.parametrize("arguments", [(-1,), (0, -1)])
def test_negative_numbers_are_refused(arguments):
    with pytest.raises(ValueError, match="from 0 up"):
        derive_generator(*arguments)
