"""A network's logits as a linear function of its parameters: products with their derivative, in bounded memory.

Written `J`, it has a row for each logit of each image and a column for each parameter, and is never formed. `J^T c` is the
gradient of `<logits, c>`, and `<J^T c, t> = <c, J t>`, differentiated with respect to `c`, gives `J t`. Forward-mode
differentiation would take half of the time, but torch 2.14 loads a deprecated compiler for it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core_distill.engine import Session, current, loss_gradient, pull_back, running_on
from core_distill.types import Batch


def inner_product(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits times labels `(n, c)`, summed over classes, `(n,)`: the loss whose gradient is `J^T labels`."""
    return (logits * labels).sum(-1)


def logits_along(
    network: nn.Module, parameters: Sequence[Tensor], images: Tensor, tangent: Sequence[Tensor], *, num_classes: int
) -> Tensor:
    """`J tangent`, `(n, num_classes)`: how the logits of a flat batch move as `parameters` move along `tangent`.

    Differentiable once, with respect to `images`.
    """
    values = [value.detach() for value in (*parameters, *tangent)]
    result: Tensor = _Along.apply(network, num_classes, current(), images, *values)
    return result


@torch.no_grad()
def logits_pulled_back(
    network: nn.Module, parameters: Sequence[Tensor], images: Tensor, cotangents: Tensor
) -> tuple[Tensor, ...]:
    """`J^T cotangents (n, num_classes)`: one tensor a parameter, summed over a flat batch."""
    batch = Batch(images.detach(), len(images) * cotangents.detach())
    return loss_gradient(network, [value.detach() for value in parameters], batch, loss=inner_product)


class _Along(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: nn.Module, num_classes: int, session: Session, images: Tensor, *values: Tensor
    ) -> Tensor:
        ctx.network, ctx.session = network, session
        ctx.save_for_backward(images, *values)
        parameters, tangent = values[: len(values) // 2], values[len(values) // 2 :]
        batch = Batch(images, images.new_zeros(len(images), num_classes))
        felt = pull_back(
            network, parameters, batch, tangent, to_images=False, to_labels=True, loss=inner_product
        ).labels
        assert felt is not None
        return len(images) * felt

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        images, *values = ctx.saved_tensors
        parameters, tangent = values[: len(values) // 2], values[len(values) // 2 :]
        batch = Batch(images, len(images) * cotangents[0])
        with running_on(ctx.session):  # a backward pass on a card runs in a thread of its own
            felt = pull_back(ctx.network, parameters, batch, tangent, loss=inner_product)
        return None, None, None, felt.images, *[None] * len(values)
