"""What the buffer remembers of one class: synthetic images in 256 levels, which cost what real images cost."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from core_distill.synthetic.precision import decode_tensors, encode_tensors

LIMITS_BYTES = 8
"""What the limits of one class's levels take: two float32."""

_NAME = "images.class"


class ClassMemory(NamedTuple):
    """The synthetic images of one class.

    Attributes:
        levels: `(n, c, *rest)` uint8, 0 for the smallest and 255 for the largest value of `limits`.
        limits: `(2,)` float32.
        examples_seen: how many real examples of the class these images stand for.
    """

    levels: Tensor
    limits: Tensor
    examples_seen: int

    @classmethod
    def of(cls, images: Tensor, examples_seen: int) -> Self:
        """Store images `(n, c, *rest)`, floats of any range."""
        stored = encode_tensors({_NAME: images}, "uint8")
        return cls(stored[_NAME], stored[f"{_NAME}.range"], examples_seen)

    @property
    def images(self) -> Tensor:
        """The images as a network gets them, float32."""
        return decode_tensors({_NAME: self.levels, f"{_NAME}.range": self.limits}, "uint8")[_NAME]

    @property
    def num_bytes(self) -> int:
        """What images and limits take."""
        return self.levels.nbytes + self.limits.nbytes

    def first(self, count: int) -> Self:
        """The first `count` images, or all where there are fewer."""
        return self._replace(levels=self.levels[:count])

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Read `_asdict()` back; raises `ValueError` where shapes, types or values cannot be a memory's."""
        memory = cls(state["levels"], state["limits"], state["examples_seen"])
        if memory.levels.dtype != torch.uint8 or memory.levels.dim() < 2 or not memory.levels.numel():
            raise ValueError(
                f"levels must be uint8 (n, c, ...) with at least one image, got {memory.levels.dtype} of shape "
                f"{tuple(memory.levels.shape)}"
            )
        if memory.limits.shape != (2,) or not torch.isfinite(memory.limits).all() or memory.examples_seen < 1:
            raise ValueError(
                f"limits must be two finite numbers and examples_seen at least 1, got {memory.limits.tolist()} and "
                f"{memory.examples_seen}"
            )
        return memory
