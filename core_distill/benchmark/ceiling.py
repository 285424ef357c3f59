"""What the machine can do: the best rate of a matrix product and of the convolution that these networks are made of."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from core_distill.benchmark.timing import seconds_of
from core_distill.benchmark.unit import Timed
from core_distill.engine.settings import Precision
from core_distill.randomness import derive_generator

_DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_CHANNELS, _SIDE = 128, 16


class Ceiling(NamedTuple):
    """GFLOP/s of the best matrix product, and of a 128-channel 3 x 3 convolution, forward plus backward."""

    product: float
    convolution: float

    @property
    def best(self) -> float:
        """What shares are taken of."""
        return max(self)


def measure_ceiling(
    device: torch.device,
    precision: Precision,
    *,
    sides: tuple[int, ...] = (),
    images: tuple[int, ...] = (16, 64),
    repeats: int = 4,
) -> Ceiling:
    """The best of `repeats` runs over several sizes: square matrices of `sides`, batches of `images` of 128 x 16 x 16.

    Without `sides`, 512 to 2,048 on a CPU and 2,048 to 8,192 on a card.
    """
    dtype = _DTYPES[precision]
    sides = sides or ((2048, 4096, 8192) if device.type == "cuda" else (512, 1024, 2048))
    products = [_rate(_product(side, device, dtype), 2 * side**3, device, repeats) for side in sides]
    each = 3 * 2 * _SIDE**2 * _CHANNELS**2 * 9
    formats = (torch.contiguous_format, torch.channels_last)
    convolutions = [
        _rate(_convolution(count, device, dtype, layout), each * count, device, repeats)
        for count in images
        for layout in formats
    ]
    return Ceiling(max(products), max(convolutions))


def _rate(run: Callable[[], object], flops: int, device: torch.device, repeats: int) -> float:
    seconds = [sum(seconds_of((Timed(run),), device)) for _ in range(repeats + 1)]
    return flops / min(seconds[1:]) / 1e9


def _product(side: int, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    generator = derive_generator(0, "ceiling", device=device)
    a, b = (torch.randn(side, side, generator=generator, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def _convolution(
    count: int, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> Callable[[], object]:
    generator = derive_generator(0, "ceiling", device=device)
    maps = torch.randn(count, _CHANNELS, _SIDE, _SIDE, generator=generator, device=device)
    maps = maps.to(dtype=dtype, memory_format=layout).requires_grad_()
    weight = torch.randn(_CHANNELS, _CHANNELS, 3, 3, generator=generator, device=device)
    weight = weight.to(dtype=dtype, memory_format=layout).requires_grad_()
    back = torch.ones_like(maps)

    def run() -> object:
        return torch.autograd.grad(F.conv2d(maps, weight, padding=1), [maps, weight], back)

    return run
