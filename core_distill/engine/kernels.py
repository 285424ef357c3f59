"""Faster forms of single operations, put in place of PyTorch's own when a graph is traced for compilation."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_FEW = 4
"""Input channels up to which a convolution counts as the first of a network."""


def _convolution(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Any:
    """A first convolution on a CPU as one matrix product, whose result has its channels innermost.

    That layout then goes on through the network, where the other convolutions, norms and poolings are faster in it: a
    gradient of ConvNet-3 takes three quarters of the time in bfloat16.
    """
    if not _is_first(images, groups) or transposed:
        return NotImplemented
    windows = _windows(images, weight, stride, padding, dilation)
    found = windows.transpose(1, 2) @ weight.flatten(1).T
    if bias is not None:
        found = found + bias
    height = (images.shape[2] + 2 * padding[0] - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1
    return found.unflatten(1, (height, -1)).permute(0, 3, 1, 2)


def _convolution_backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    mask: Sequence[bool],
) -> Any:
    """The weight and bias gradient of a first convolution on a CPU, as one matrix product.

    PyTorch's kernel is made for many channels: for one, at 64 images and bfloat16, it took 19 ms, and a product like this 5.
    """
    if not _is_first(images, groups) or mask[0] or transposed:
        return NotImplemented
    windows = _windows(images, weight, stride, padding, dilation)
    ones = windows.new_ones(windows.shape[0], 1, windows.shape[2])
    pixels = gradient.permute(0, 2, 3, 1).flatten(1, 2)
    found = (torch.cat((windows, ones), 1) @ pixels).sum(0)
    return None, found[:-1].T.reshape(weight.shape) if mask[1] else None, found[-1] if mask[2] else None


def _is_first(images: Tensor, groups: int) -> bool:
    return images.device.type == "cpu" and images.dim() == 4 and images.shape[1] <= _FEW and groups == 1


def _windows(
    images: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """What each output pixel sees, `(n, c * kh * kw, pixels)`."""
    kernel, spread, around, step = (tuple(value) for value in (weight.shape[2:], dilation, padding, stride))
    return F.unfold(images, kernel, dilation=spread, padding=around, stride=step)


REPLACED: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.convolution.default: _convolution,
    torch.ops.aten.convolution_backward.default: _convolution_backward,
}
"""By operation: a function that computes it, or answers `NotImplemented` where PyTorch's own is as good."""
