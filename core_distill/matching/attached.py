"""A loss whose gradient was computed by hand: a scalar that carries both, and so flows through any parametrisation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def attach_gradient(value: Tensor, tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar of `value` whose gradient with respect to each of `tensors` is the one of `gradients`, of its shape."""
    result: Tensor = _Attached.apply(value, len(tensors), *tensors, *(gradient.detach() for gradient in gradients))
    return result


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, count: int, *values: Tensor) -> Tensor:
        ctx.save_for_backward(*values[count:])
        return value.detach().clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        return None, None, *(cotangents[0] * gradient for gradient in gradients), *[None] * len(gradients)
