"""One generator handed down: every random number in the library comes from a `torch.Generator` made here."""

import zlib

import numpy as np
import torch
from torch import Generator, Tensor

_STATE_WORDS = 624
"""Words of the Mersenne Twister behind PyTorch's CPU generators."""

_WORDS_AT = 24
"""Where they start in `Generator.get_state()`, as 64-bit numbers: after the seed, two counters and the next position."""


def derive_generator(seed: int, *path: int | str, device: torch.device | str = "cpu") -> Generator:
    """A generator for `(seed, *path)`, for example `(seed, "episode", 3)`; different paths give independent streams.

    Mixing is numpy's `SeedSequence`, so neighbouring seeds and paths are as unrelated as distant ones. It fills the whole
    state of a CPU generator (`manual_seed` would keep 32 bits of a seed), and the 64 bits that a CUDA generator has.
    Raises `ValueError` for a negative number.
    """
    numbers = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    if seed < 0 or any(number < 0 for number in numbers):
        raise ValueError(f"seeds are whole numbers from 0 up, got {(seed, *path)}")
    sequence = np.random.SeedSequence(seed, spawn_key=numbers)
    generator = torch.Generator(device=device).manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
    if generator.device.type == "cpu":
        state = generator.get_state()
        words = sequence.generate_state(_STATE_WORDS, np.uint32).astype(np.uint64)
        state[_WORDS_AT : _WORDS_AT + 8 * _STATE_WORDS] = torch.from_numpy(words.view(np.uint8))
        generator.set_state(state)
    return generator


def host_integers(high: int, count: int, generator: Generator, *path: int | str) -> Tensor:
    """`count` numbers from 0 up, below `high`, on the CPU whatever the generator's device: for what decides which code runs.

    A CUDA generator keeps its seed and offset on the host: a CPU generator derived from both and `path` draws the numbers
    without waiting for the device. That moves no offset: the next numbers are others once something was drawn from
    `generator` itself, or with another path.
    """
    if generator.device.type == "cuda":
        generator = derive_generator(generator.initial_seed(), *path, generator.get_offset())
    return torch.randint(high, (count,), generator=generator)
