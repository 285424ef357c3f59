"""Norm and pooling in forms that compile into few passes over their maps, put in place of PyTorch's when a graph is traced.

Channels come last and every 2x2 window has dimensions of its own, so that the compiler runs norm, ReLU and pooling together
with plain indices, forward and backward. From PyTorch's own operations it made passes that divide to find each pixel's
window; they took a third of a gradient of ConvNet-3 in bfloat16, the forms below a sixth.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_PIXELS = (1, 2, 3, 4)
_TWO = (2, (2, 2))


class Fused(TorchFunctionMode):
    """Inside, instance norms and 2x2 average poolings of maps are computed by this module; all else is left alone."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        form = _FORMS.get(func)
        found = NotImplemented if form is None else form(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {})) if found is NotImplemented else found


def instance_norm(
    input: Tensor,  # noqa: A002 - PyTorch's name
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    """`group_norm` of maps `(n, c, h, w)` where every channel is a group, in float32 or better; else `NotImplemented`."""
    if input.dim() != 4 or num_groups != input.shape[1] or weight is None or bias is None:
        return NotImplemented
    maps = _windows(input)
    maps = maps.to(_wide(maps))
    share = input.shape[1] / input[0].numel()
    mean = maps.sum(_PIXELS, keepdim=True) * share
    variance = (maps - mean).square().sum(_PIXELS, keepdim=True) * share
    # What holds an exponential is computed once, where 1 / sqrt would be computed anew for every pixel.
    spread = torch.exp(-0.5 * torch.log(variance + eps))
    found: Tensor = _Normalised.apply(maps, weight, bias, mean, spread)
    number, channels, *sides = input.shape
    return found.to(input.dtype).reshape(number, *sides, channels).permute(0, 3, 1, 2)


class _Normalised(torch.autograd.Function):
    """`(maps - mean) * spread * weight + bias`, with a backward pass through mean and spread that needs two sums.

    Mean and spread are given, so that nothing is computed twice; what they feel is in the gradient of the maps already. A
    second derivative follows them as functions of the maps.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(maps: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
        return (maps - mean) * (spread * weight) + bias

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        maps, weight, _, mean, spread = inputs
        ctx.save_for_backward(maps, weight, mean, spread)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, mean, spread = ctx.saved_tensors
        (gradient,) = cotangents
        share = 1 / maps[0, ..., 0].numel()
        centred = maps - mean
        plain = gradient.sum(_PIXELS, keepdim=True)
        weighted = (gradient * centred).sum(_PIXELS, keepdim=True) * spread
        to_maps = (gradient - plain * share - centred * (spread * weighted * share)) * (spread * weight)
        return to_maps, weighted.flatten(0, 4).sum(0), plain.flatten(0, 4).sum(0), None, None


def average_pool(
    input: Tensor,  # noqa: A002 - PyTorch's name
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """`avg_pool2d` of maps with even sides over windows of 2x2, nothing else asked for; else `NotImplemented`."""
    halved = kernel_size in _TWO and stride in (None, *_TWO) and padding in (0, (0, 0))
    usual = (ceil_mode, count_include_pad, divisor_override) == (False, True, None)
    if not (halved and usual) or input.dim() != 4 or not _even(input):
        return NotImplemented
    sums = _windows(input).sum((2, 4), dtype=_wide(input))
    return (sums * 0.25).to(input.dtype).permute(0, 3, 1, 2)


def _windows(images: Tensor) -> Tensor:
    """Maps `(n, c, h, w)` as `(n, h / 2, 2, w / 2, 2, c)`; with sides of 1 for windows where a side is odd."""
    number, channels, height, width = images.shape
    side = 2 if _even(images) else 1
    return images.permute(0, 2, 3, 1).reshape(number, height // side, side, width // side, side, channels)


def _wide(images: Tensor) -> torch.dtype:
    return torch.promote_types(images.dtype, torch.float32)


def _even(images: Tensor) -> bool:
    return images.shape[2] % 2 == 0 and images.shape[3] % 2 == 0


_FORMS: dict[Any, Any] = {F.group_norm: instance_norm, F.avg_pool2d: average_pool}
"""By PyTorch's function: what takes the same arguments and computes the same, or answers `NotImplemented`."""
