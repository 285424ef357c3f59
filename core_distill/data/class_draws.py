"""Which examples of each class a grouped batch takes: drawn for all classes at once, whoever holds the images."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Generator, Tensor


@final
class ClassDraws:
    """Draws from examples that stand class after class; knows their numbers and not the examples.

    Args:
        sizes: how many examples each class has, at least 1 each.
        device: where the positions are wanted.
    """

    def __init__(self, sizes: Sequence[int], device: torch.device) -> None:
        self._counts = tuple(sizes)
        self._sizes = torch.tensor(sizes, device=device).unsqueeze(1)
        self._starts = self._sizes.cumsum(0) - self._sizes

    def by_class(self, size: int, generator: Generator) -> Tensor:
        """Positions `(k, size)`, a row a class; see `ClassSampler.by_class`."""
        # Column j of a row stands for example j % class_size in shuffle j // class_size. The key orders shuffle after
        # shuffle; halving the noise keeps rounding from carrying a key into the next shuffle.
        device = self._sizes.device
        width = max(-(-size // present) * present for present in self._counts)
        column = torch.arange(width, device=device)
        noise = torch.rand(
            len(self._counts), width, dtype=torch.float64, generator=generator, device=generator.device
        ).to(device)
        key = column // self._sizes + noise / 2
        chosen = key.topk(size, largest=False).indices % self._sizes
        return self._starts + chosen
