"""A loss as a function of what a network sees rather than of its parameters, in bounded memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core_distill.engine.compiled import run
from core_distill.engine.job import Job
from core_distill.engine.losses import ExampleLoss, cross_entropy
from core_distill.engine.pieces import piece_size, spans
from core_distill.engine.settings import current
from core_distill.types import Batch


def input_loss(
    network: nn.Module, parameters: Sequence[Tensor], batch: Batch, *, loss: ExampleLoss = cross_entropy
) -> Tensor:
    """The weighted mean loss of a flat batch, a scalar; differentiable once, with respect to images and probabilities alone.

    Value and gradient come from the same passes; where neither is learned, the value alone is computed.
    """
    images, labels, weights = batch
    if weights is None:
        shares = images.new_full((len(images),), 1 / len(images))
    else:
        shares = (weights / weights.sum().clamp(min=1e-12)).to(images.dtype)
    fixed = [value.detach() for value in parameters]
    result: Tensor = _InputLoss.apply(Job(network, loss, current()), images, labels, shares, *fixed)
    return result


class _Inputs:
    """The gradient of a job's loss with respect to what is wanted of images (0) and labels (1), and its value."""

    def __init__(self, job: Job, wanted: tuple[int, ...]) -> None:
        self.job, self.wanted = job, wanted

    def by_function(self, parameters: Sequence[Tensor], *piece: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """By `torch.func`, which can be traced for compilation."""
        places = tuple(place + 1 for place in self.wanted)
        found, value = torch.func.grad_and_value(self.job.total, argnums=places)(parameters, *piece)
        return found, value

    def eager(self, parameters: Sequence[Tensor], *piece: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """By autograd, which costs least a call."""
        with torch.enable_grad():
            images, labels, weights = piece
            images, labels = (
                value.detach().requires_grad_(place in self.wanted) for place, value in enumerate((images, labels))
            )
            value = self.job.total(parameters, images, labels, weights)
            leaves = [(images, labels)[place] for place in self.wanted]
            return torch.autograd.grad(value, leaves, materialize_grads=True), value.detach()

    def value_alone(self, parameters: Sequence[Tensor], *piece: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Where nothing is wanted."""
        with torch.no_grad():
            return (), self.job.total(parameters, *piece)


class _InputLoss(torch.autograd.Function):
    """`input_loss`: the gradient is taken with the value and kept."""

    @staticmethod
    def forward(ctx: Any, job: Job, images: Tensor, labels: Tensor, weights: Tensor, *parameters: Tensor) -> Tensor:
        wanted = tuple(place for place in (0, 1) if ctx.needs_input_grad[1 + place])
        inputs = _Inputs(job, wanted)
        fast, eager = (inputs.by_function, inputs.eager) if wanted else (inputs.value_alone, inputs.value_alone)
        kept = [torch.zeros_like((images, labels)[place]) for place in wanted]
        total = images.new_zeros(())
        size = piece_size(job.session.engine, job.network, tuple(images.shape[1:]), len(images), images.device)
        for span in spans(len(images), size):
            piece = (images[span], labels[span], weights[span])
            work = (3 if wanted else 1) * job.operations(piece[0])
            found, part = run(job.session, job.key(f"input loss {wanted}"), fast, eager, work, parameters, *piece)
            total = total + part
            for whole, gradient in zip(kept, found, strict=True):
                whole[span] = gradient
        ctx.wanted = wanted
        ctx.save_for_backward(*kept)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = [None, None]
        for place, gradient in zip(ctx.wanted, ctx.saved_tensors, strict=True):
            found[place] = cotangents[0] * gradient
        return None, *found, *[None] * (len(ctx.needs_input_grad) - 3)
