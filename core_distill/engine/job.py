"""One network with one loss on one engine: the gradient of the loss, and its products, of one piece of images."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from core_distill.engine.compiled import Key
from core_distill.engine.losses import ExampleLoss
from core_distill.engine.settings import Session
from core_distill.engine.structure import compilable_kind, structure_of

Piece = tuple[Tensor, Tensor, Tensor]
"""Images `(n, *shape)`, labels `(n,)` or `(n, c)`, weights `(n,)` that sum to 1 over all pieces of a batch."""


class Job(NamedTuple):
    """What is differentiated. Functions of parameters come in two forms that compute the same.

    Those named `eager_` use autograd, which costs least a call; the others use `torch.func`, which can be batched over
    classes and traced for compilation.
    """

    network: nn.Module
    loss: ExampleLoss
    session: Session

    def key(self, what: str) -> Key | None:
        """What compiled code depends on; None where the network's kind is not known."""
        kind = compilable_kind(self.network)
        return None if kind is None else Key(what, kind, self.loss, self.network.training)

    def operations(self, images: Tensor) -> float:
        """Of one forward pass of `images (..., *shape)`, all leading dimensions counted."""
        kind = compilable_kind(self.network)
        shape = tuple(images.shape[1:]) if kind is None else kind.image_shape
        count = images.numel() / max(1, torch.Size(shape).numel())
        return count * structure_of(self.network, shape).operations

    def total(self, parameters: Sequence[Tensor], images: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        """The weighted sum of the losses of a piece, in the parameters' precision."""
        named = dict(zip((name for name, _ in self.network.named_parameters()), parameters, strict=True))
        with self.session.engine.autocast(images.device):
            logits: Tensor = functional_call(self.network, named, (images,))
        return (self.loss(logits.to(images.dtype), labels) * weights).sum()

    def gradient(self, parameters: Sequence[Tensor], *piece: Tensor) -> tuple[Tensor, ...]:
        """Of `total`, with respect to the parameters."""
        result: tuple[Tensor, ...] = grad(self.total)(tuple(parameters), *piece)
        return result

    def gradient_and_total(self, parameters: Sequence[Tensor], *piece: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """`eager_gradient_and_total` by `torch.func`."""
        found, value = torch.func.grad_and_value(self.total)(tuple(parameters), *piece)
        return found, value

    def eager_gradient(self, parameters: Sequence[Tensor], *piece: Tensor) -> tuple[Tensor, ...]:
        """`gradient` by autograd."""
        return self.eager_gradient_and_total(parameters, *piece)[0]

    def eager_gradient_and_total(
        self, parameters: Sequence[Tensor], *piece: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """The gradient of `total` and its value, by autograd."""
        with torch.enable_grad():
            leaves = [parameter.detach().requires_grad_() for parameter in parameters]
            value = self.total(leaves, *piece)
            return torch.autograd.grad(value, leaves), value.detach()

    def product(
        self,
        parameters: Sequence[Tensor],
        images: Tensor,
        labels: Tensor,
        weights: Tensor,
        cotangents: Sequence[Tensor],
    ) -> Tensor:
        """`gradient` times `cotangents`, a scalar."""
        return _inner(self.gradient(parameters, images, labels, weights), cotangents)

    def eager_product_gradient(
        self, wanted: tuple[int, ...], parameters: Sequence[Tensor], *rest: Tensor | Sequence[Tensor]
    ) -> tuple[Tensor | tuple[Tensor, ...], ...]:
        """`grad(product, argnums=wanted)` by autograd: 0 for the parameters, 1 for images, 2 for labels."""
        images, labels, weights, cotangents = rest
        with torch.enable_grad():
            leaves = [parameter.detach().requires_grad_() for parameter in parameters]
            seen = images.detach().requires_grad_(1 in wanted)  # type: ignore[union-attr]
            targets = labels.detach().requires_grad_(2 in wanted)  # type: ignore[union-attr]
            value = self.total(leaves, seen, targets, weights)  # type: ignore[arg-type]
            inner = torch.autograd.grad(value, leaves, create_graph=True)
            inputs = {0: leaves, 1: [seen], 2: [targets]}
            flat = [leaf for position in wanted for leaf in inputs[position]]
            found = iter(torch.autograd.grad(_inner(inner, cotangents), flat, materialize_grads=True))
        return tuple(tuple(next(found) for _ in leaves) if position == 0 else next(found) for position in wanted)


def _inner(first: Sequence[Tensor], second: Sequence[Tensor] | Tensor) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()
