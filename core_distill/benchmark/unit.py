"""What a unit of work is: what the library runs for it, its naive twin, and the arithmetic it asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from core_distill.benchmark.inputs import DEPTH, Inputs, Size
from core_distill.networks import ConvNet
from core_distill.types import Batch


class Timed(NamedTuple):
    """Something to run under the clock, and how many times it stands for in the unit of work."""

    run: Callable[[], object]
    times: float = 1.0


Prepare = Callable[[Inputs], tuple[Timed, ...]]
"""Builds what is timed from the inputs, outside the clock; the cost of the unit is the sum of `times` x seconds."""

AXES = {
    "num_classes": "classes",
    "images_per_class": "images per class",
    "inner_steps": "inner steps",
    "side": "image side",
}
"""The sizes that cost may be plotted against, and their names in tables and plots."""


@dataclass(frozen=True)
class Work:
    """A unit of work of this field.

    `axes` are the sizes its cost depends on; `flops(size)` counts the operations of matrix products and convolutions that
    the naive twin runs, without running them.
    """

    name: str
    unit: str
    axes: tuple[str, ...]
    fast: Prepare
    naive: Prepare
    flops: Callable[[Size], float]


def counted(run: Callable[[], object]) -> float:
    """Floating-point operations of the matrix products and convolutions in `run`; tensors may be on `meta`."""
    counter = _Flops()
    with counter:
        run()
    return counter.total


class _Flops(TorchDispatchMode):
    """PyTorch's own counts, without the module hooks of its `FlopCounterMode`, which `autograd.grad` on leaves breaks."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry  # brings triton, which takes a moment

        super().__init__()  # type: ignore[no-untyped-call]
        self.total: float = 0.0
        self._counts: dict[Any, Any] = flop_registry

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = self._counts.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def meta_network(size: Size) -> nn.Module:
    """The network of `size`, without memory."""
    with torch.device("meta"):
        return ConvNet(size.image_shape, size.num_classes, width=size.width, depth=DEPTH)


def meta_batch(size: Size, *leading: int) -> Batch:
    """Images `(*leading, c, h, w)` and class numbers `(*leading)`, without memory."""
    images: Tensor = torch.empty(*leading, *size.image_shape, device="meta")
    return Batch(images, torch.zeros(leading, dtype=torch.int64, device="meta"))
