"""Streams are repeatable, different for different paths, and use the whole state of the generator."""

import numpy as np
import pytest
import torch

from core_distill.randomness import derive_generator, host_integers


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


class Card:
    """A CUDA generator as seen from the host: a seed and an offset, and nothing that can be drawn from it there."""

    device = torch.device("cuda")

    def __init__(self, seed, offset):
        self._seed, self._offset = seed, offset

    def initial_seed(self):
        return self._seed

    def get_offset(self):
        return self._offset


@pytest.mark.parametrize("high", [1, 6, 1000, 2**40])
def test_on_a_cpu_host_integers_are_the_next_numbers_of_the_generator(high):
    """Those of a Mersenne Twister, from one word a number or two, modulo `high`."""
    words = np.random.SeedSequence(5, spawn_key=[7]).generate_state(624, np.uint32)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    raw = [int(word) for word in twister.random_raw(80)]
    wide = [(first << 32) | second for first, second in zip(raw[::2], raw[1::2], strict=True)]
    expected = [number % high for number in (raw if high < 2**32 else wide)][:40]
    generator = derive_generator(5, 7)
    found = [host_integers(high, 39, generator, "any path"), host_integers(high, 1, generator)]
    assert torch.cat(found).tolist() == expected


def test_for_a_card_host_integers_come_from_seed_path_and_offset_alone():
    found = host_integers(10, 5, Card(7, 12), "pool")
    assert found.device.type == "cpu"
    expected = torch.randint(10, (5,), generator=derive_generator(7, "pool", 12))
    assert torch.equal(found, expected)
    assert torch.equal(host_integers(10, 5, Card(7, 12)), torch.randint(10, (5,), generator=derive_generator(7, 12)))
    assert {int(host_integers(10, 1, Card(7, offset), "pool")) for offset in range(100)} == set(range(10))
