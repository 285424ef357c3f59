"""One generator handed down: every random number in the library comes from a `torch.Generator` made here."""

import zlib

import numpy as np
import torch


def derive_generator(seed: int, *path: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for `(seed, *path)`, for example `(seed, "episode", 3)`; different paths give independent streams.

    Mixing is numpy's `SeedSequence`, so neighbouring seeds and paths are as unrelated as distant ones. Raises
    `ValueError` for a negative number.
    """
    numbers = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path]
    if seed < 0 or any(number < 0 for number in numbers):
        raise ValueError(f"seeds are whole numbers from 0 up, got {(seed, *path)}")
    state = np.random.SeedSequence(seed, spawn_key=numbers).generate_state(1, np.uint64)
    return torch.Generator(device=device).manual_seed(int(state[0]))
