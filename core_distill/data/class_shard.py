"""The part of real data that one of several processes holds: some classes, drawn as the whole would draw them."""

from typing import final

import torch
from torch import Generator, Tensor

from core_distill.data.class_sampler import ClassSampler
from core_distill.types import Batch


@final
class ClassShard:
    """A `RealData` of some rows of `whole`: every draw is made for all classes, and only the own rows are read.

    So processes that hold the other rows, with equal generators, draw together what one process would draw alone.

    Args:
        whole: may be let go afterwards; the own examples are copied (of examples on disk, their row numbers).
        rows: which of `whole.classes`, a range of step 1.
    """

    def __init__(self, whole: ClassSampler, rows: range) -> None:
        self._rows = slice(rows.start, rows.stop)
        self._draws = whole.draws
        sizes = whole.class_sizes.tolist()
        self._first = sum(sizes[: rows.start])
        own = torch.arange(self._first, self._first + sum(sizes[self._rows]), device=whole.device)
        self._own = whole.subset(own)

    @property
    def classes(self) -> Tensor:
        """The own class numbers, int64 `(k,)`, ascending."""
        return self._own.classes

    @property
    def num_classes(self) -> int:
        """How many classes the whole task has."""
        return self._own.num_classes

    def by_class(self, size: int, generator: Generator) -> Batch:
        """The own rows of what `whole.by_class` would give. Raises `ValueError` for a size below 1."""
        if size < 1:
            raise ValueError(f"a batch needs at least 1 example, got size {size}")
        return self._own.take(self._draws.by_class(size, generator)[self._rows] - self._first)

    def batch(self, size: int, generator: Generator) -> Batch:
        """Refused: flat batches need examples of all classes."""
        raise ValueError("a process that holds some classes has no flat batch over all of them; use by_class")
