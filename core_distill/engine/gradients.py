"""Gradients of a loss with respect to a network's parameters, themselves differentiable once, in bounded memory.

Everything that trains or compares networks comes down to one quantity, the gradient `g(theta; images, labels)` of a mean
loss, and one product, `<g, v>` differentiated with respect to images, labels and parameters: the backward pass of gradient
matching, and each step of an unrolled training run backwards. Both run piece by piece over the images and recompute what
they need, so that memory follows the size of a piece, never that of a batch or the number of steps.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from core_distill.engine.compiled import Function, run
from core_distill.engine.job import Job, Piece
from core_distill.engine.losses import ExampleLoss, cross_entropy
from core_distill.engine.pieces import piece_size, spans
from core_distill.engine.settings import current
from core_distill.types import Batch

_BACKWARD = 3.0
"""Operations of a gradient, in forward passes."""

_PRODUCT = 9.0
"""Operations of a differentiated product, in forward passes."""


def parameters_of(network: nn.Module) -> tuple[Tensor, ...]:
    """The network's parameters, detached, in the order of `network.parameters()`."""
    return tuple(parameter.detach() for parameter in network.parameters())


def class_gradients(
    network: nn.Module, parameters: Sequence[Tensor], batch: Batch, *, loss: ExampleLoss = cross_entropy
) -> tuple[Tensor, ...]:
    """Each class's gradient of the weighted mean loss: a grouped batch `(k, n, *shape)` gives tensors `(k, *parameter)`.

    Differentiable once, with respect to images, probabilities and `parameters`; weights count as constants, and a row of
    weight 0 has the gradient 0. The network is called with `parameters` in place of its own, whose `.grad` stay untouched.
    """
    job = Job(network, loss, current())
    result: tuple[Tensor, ...] = _ClassGradients.apply(job, batch.images, batch.labels, _shares(batch), *parameters)
    return result


def loss_gradient(
    network: nn.Module, parameters: Sequence[Tensor], batch: Batch, *, loss: ExampleLoss = cross_entropy
) -> tuple[Tensor, ...]:
    """The gradient of the weighted mean loss of a flat batch `(n, *shape)`, one tensor a parameter.

    Differentiable once, with respect to images, probabilities and `parameters`.
    """
    return tuple(gradient[0] for gradient in class_gradients(network, parameters, _one_row(batch), loss=loss))


def mean_loss(
    network: nn.Module, parameters: Sequence[Tensor], batch: Batch, *, loss: ExampleLoss = cross_entropy
) -> Tensor:
    """The weighted mean loss of a flat batch, a scalar; differentiable once, with respect to `parameters` alone.

    Value and gradient come from the same passes.
    """
    job = Job(network, loss, current())
    result: Tensor = _MeanLoss.apply(job, batch.images, batch.labels, _shares(_one_row(batch))[0], *parameters)
    return result


def _one_row(batch: Batch) -> Batch:
    """A flat batch as a grouped one of a single row."""
    return Batch(batch.images[None], batch.labels[None], None if batch.weights is None else batch.weights[None])


def _shares(batch: Batch) -> Tensor:
    """The weights of a grouped batch, `(k, n)`, that sum to 1 in each row; 0 in a row of nothing but padding."""
    images, _, weights = batch
    if weights is None:
        return images.new_full(images.shape[:2], 1 / images.shape[1])
    return (weights / weights.sum(1, keepdim=True).clamp(min=1e-12)).to(images.dtype)


class _ClassGradients(torch.autograd.Function):
    """`class_gradients`, with a backward pass that recomputes: `<gradient, cotangents>` differentiated piece by piece."""

    @staticmethod
    def forward(
        ctx: Any, job: Job, images: Tensor, labels: Tensor, weights: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.job = job
        ctx.save_for_backward(images, labels, weights, *parameters)
        sums = [parameter.new_zeros(len(images), *parameter.shape) for parameter in parameters]
        batched = vmap(job.gradient, in_dims=(None, 0, 0, 0))
        for rows, span in _pieces(job, images):
            piece = (images[rows, span], labels[rows, span], weights[rows, span])
            fast, eager = (batched, batched) if isinstance(rows, slice) else (job.gradient, job.eager_gradient)
            work = _BACKWARD * job.operations(piece[0])
            found = run(job.session, job.key("gradient"), fast, eager, work, parameters, *piece)
            for total, gradient in zip(sums, found, strict=True):
                total[rows] += gradient
        return tuple(sums)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        images, labels, weights, *parameters = ctx.saved_tensors
        wanted = _wanted(ctx.needs_input_grad[1], ctx.needs_input_grad[2], any(ctx.needs_input_grad[4:]))
        found = _pulled_back(ctx.job, wanted, parameters, Batch(images, labels, weights), cotangents)
        to_parameters: Sequence[Tensor | None] = found.parameters or [None] * len(parameters)
        return None, found.images, found.labels, None, *to_parameters


class Pulled(NamedTuple):
    """What a product of a gradient feels of images `(n, *shape)`, labels and parameters; None for what was not asked."""

    images: Tensor | None
    labels: Tensor | None
    parameters: Sequence[Tensor] | None


@torch.no_grad()
def pull_back(
    network: nn.Module,
    parameters: Sequence[Tensor],
    batch: Batch,
    cotangents: Sequence[Tensor],
    *,
    to_images: bool = True,
    to_labels: bool = False,
    to_parameters: bool = False,
    loss: ExampleLoss = cross_entropy,
) -> Pulled:
    """`<loss_gradient(network, parameters, batch), cotangents>` differentiated, without computing the gradient itself."""
    row = _one_row(batch)
    row = Batch(row.images.detach(), row.labels.detach(), _shares(row))
    job = Job(network, loss, current())
    wanted = _wanted(to_images, to_labels, to_parameters)
    found = _pulled_back(job, wanted, parameters, row, [value[None] for value in cotangents])
    return found._replace(
        images=None if found.images is None else found.images[0],
        labels=None if found.labels is None else found.labels[0],
    )


def _wanted(images: bool, labels: bool, parameters: bool) -> tuple[int, ...]:
    return tuple(position for position, want in enumerate((parameters, images, labels)) if want)


def _pulled_back(
    job: Job, wanted: tuple[int, ...], parameters: Sequence[Tensor], batch: Batch, cotangents: Sequence[Tensor]
) -> Pulled:
    """Piece by piece over a grouped batch, whose weights are given and sum to 1 in each row."""
    images, labels, weights = batch
    assert weights is not None
    if not wanted:
        return Pulled(None, None, None)
    to_parameters = [torch.zeros_like(value) for value in parameters] if 0 in wanted else None
    to_images = torch.zeros_like(images) if 1 in wanted else None
    to_labels = torch.zeros_like(labels) if 2 in wanted else None
    for rows, span in _pieces(job, images):
        piece = (images[rows, span], labels[rows, span], weights[rows, span])
        found = _differentiated_product(job, wanted, parameters, piece, tuple(value[rows] for value in cotangents))
        if to_images is not None:
            to_images[rows, span] = found[1]
        if to_labels is not None:
            to_labels[rows, span] = found[2]
        for total, gradient in zip(to_parameters or (), found.get(0, ()), strict=True):
            total += gradient.sum(0) if isinstance(rows, slice) else gradient
    return Pulled(to_images, to_labels, to_parameters)


def _differentiated_product(
    job: Job, wanted: tuple[int, ...], parameters: Sequence[Tensor], piece: Piece, cotangents: tuple[Tensor, ...]
) -> dict[int, Any]:
    """`<gradient, cotangents>` of a piece differentiated with respect to parameters (0), images (1), labels (2)."""
    product: Function = grad(job.product, argnums=wanted)
    eager: Function = functools.partial(job.eager_product_gradient, wanted)
    if cotangents[0].dim() > parameters[0].dim():
        product = eager = vmap(product, in_dims=(None, 0, 0, 0, 0))
    work = _PRODUCT * job.operations(piece[0])
    key = job.key(f"product {wanted}")
    return dict(
        zip(wanted, run(job.session, key, product, eager, work, tuple(parameters), *piece, cotangents), strict=True)
    )


def _pieces(job: Job, images: Tensor) -> list[tuple[Any, slice]]:
    """Which rows and columns of a grouped batch go together: several rows on a card, one at a time on a CPU.

    A batched weight gradient becomes a grouped convolution, which takes twice the time of single ones on a CPU.
    """
    rows, count = images.shape[:2]
    together = images.is_cuda and rows > 1
    size = piece_size(
        job.session.engine, job.network, tuple(images.shape[2:]), count, images.device, rows=rows if together else 1
    )
    columns = list(spans(count, size))
    groups = [slice(0, rows)] if together else range(rows)
    return [(group, span) for group in groups for span in columns]


class _MeanLoss(torch.autograd.Function):
    """`mean_loss`: the gradient is taken with the value and kept."""

    @staticmethod
    def forward(ctx: Any, job: Job, images: Tensor, labels: Tensor, weights: Tensor, *parameters: Tensor) -> Tensor:
        sums = [torch.zeros_like(parameter) for parameter in parameters]
        value = images.new_zeros(())
        for span in spans(
            len(images),
            piece_size(job.session.engine, job.network, tuple(images.shape[1:]), len(images), images.device),
        ):
            piece = (images[span], labels[span], weights[span])
            work = _BACKWARD * job.operations(piece[0])
            found, part = run(
                job.session,
                job.key("gradient and value"),
                job.gradient_and_total,
                job.eager_gradient_and_total,
                work,
                parameters,
                *piece,
            )
            value = value + part
            for total, gradient in zip(sums, found, strict=True):
                total += gradient
        ctx.save_for_backward(*sums)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, None, None, *(cotangents[0] * value for value in ctx.saved_tensors))
