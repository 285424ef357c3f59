"""Pseudo-random signs that are the same bits on every platform: what stays of a random basis is its seed."""

import torch
from torch import Tensor

from core_distill.randomness import derive_generator

_BITS = 16
"""Bits taken of one draw: the low ones of 32, whatever way a version of PyTorch draws larger numbers."""


def random_signs(rows: int, columns: int, seed: int, *path: int | str) -> Tensor:
    """`(rows, columns)` int8 of -1 and 1, on the CPU, that depend on `(seed, *path)` and the sizes alone.

    Whole numbers from a Mersenne Twister, cut into bits: no floating-point arithmetic is in it, which differs between
    machines. Raises `ValueError` for a negative seed.
    """
    draws = -(-rows * columns // _BITS)
    words = torch.randint(1 << _BITS, (draws, 1), generator=derive_generator(seed, "signs", *path))
    bits = (words >> torch.arange(_BITS)) & 1
    return bits.flatten()[: rows * columns].view(rows, columns).to(torch.int8) * 2 - 1
