"""Class means of what every layer of a network says, in bounded memory: the maps of a whole batch never stand together.

The first maps of ConvNet-3 take half a megabyte an image. Only their means leave a piece, and the backward pass, which needs
the same of every image of a class, computes each piece anew.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from core_distill.engine.compiled import run
from core_distill.engine.job import Job
from core_distill.engine.losses import cross_entropy
from core_distill.engine.pieces import piece_size, spans
from core_distill.engine.settings import current
from core_distill.types import Batch


@runtime_checkable
class Layered(Protocol):
    """A network that tells of its layers: `layer_features(images (n, *shape))`, one tensor `(n, *layer)` each, in order.

    The last one, flattened, is `features`.
    """

    def layer_features(self, images: Tensor) -> tuple[Tensor, ...]: ...


def layer_means(network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
    """Each class's weighted mean of every layer: a grouped batch `(k, n, *shape)` gives one tensor `(k, *layer)` a layer.

    Differentiable once, with respect to images. Parameters and weights count as constants; a row of weight 0 has the mean
    0. Raises `ValueError` for a network that does not tell of its layers.
    """
    return layer_means_and_features(network, batch)[0]


def layer_means_and_features(network: nn.Module, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
    """`layer_means`, and the features `(k, n, d)` of every image from the same pass, which are constants."""
    if not isinstance(network, Layered):
        raise ValueError(
            f"{type(network).__name__} does not tell of its layers: give it `layer_features(images)`, which returns one "
            "tensor (n, ...) a layer, or take one of stillroom's networks"
        )
    images, _, weights = batch
    if weights is None:
        shares = images.new_full(images.shape[:2], 1 / images.shape[1])
    else:
        shares = (weights / weights.sum(1, keepdim=True).clamp(min=1e-12)).to(images.dtype)
    part = _Part(network)
    *means, features = _LayerMeans.apply(part, images, shares, *part.parameters)
    return tuple(means), features


class _Layers(nn.Module):
    """A network's layers as a module, so that they can be called with other parameters."""

    def __init__(self, network: Layered) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.network.layer_features(images)


class _Part:
    """Weighted sums of a network's layers, and its features, as functions of parameters, images `(r, m, *shape)` and
    weights `(r, m)`.
    """

    def __init__(self, network: nn.Module) -> None:
        assert isinstance(network, Layered)
        self.job = Job(network, cross_entropy, current())
        self.module = _Layers(network)
        self.names = [name for name, _ in self.module.named_parameters()]
        self.parameters = tuple(value.detach() for value in self.module.parameters())

    def sums(self, parameters: Sequence[Tensor], images: Tensor, shares: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.names, parameters, strict=True))
        with self.job.session.engine.autocast(images.device):
            layers: tuple[Tensor, ...] = functional_call(self.module, named, (images.flatten(0, 1),))
        sums = tuple(_weighted_sums(layer.to(images.dtype), shares) for layer in layers)
        return *sums, layers[-1].to(images.dtype).reshape(*shares.shape, -1)

    def eager_sums(self, *arguments: Any) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return self.sums(*arguments)

    def pullback(
        self, parameters: Sequence[Tensor], images: Tensor, shares: Tensor, cotangents: tuple[Tensor, ...]
    ) -> Tensor:
        back = vjp(lambda piece: self.sums(parameters, piece, shares)[:-1], images)[1]
        found: Tensor = back(cotangents)[0]
        return found

    def eager_pullback(
        self, parameters: Sequence[Tensor], images: Tensor, shares: Tensor, cotangents: tuple[Tensor, ...]
    ) -> Tensor:
        with torch.enable_grad():
            seen = images.detach().requires_grad_()
            return torch.autograd.grad(self.sums(parameters, seen, shares)[:-1], seen, cotangents)[0]

    def pieces(self, images: Tensor) -> list[tuple[slice, list[slice]]]:
        """Rows that go together, with the columns of each pass: several whole rows where these fit, else parts of one."""
        rows, count = images.shape[:2]
        shape, engine = tuple(images.shape[2:]), self.job.session.engine
        size = piece_size(engine, self.job.network, shape, rows * count, images.device)
        if size < count:
            size = piece_size(engine, self.job.network, shape, count, images.device)
            return [(row, list(spans(count, size))) for row in spans(rows, 1)]
        together = next(number for number in range(min(rows, size // count), 0, -1) if rows % number == 0)
        return [(group, [slice(0, count)]) for group in spans(rows, together)]


def _weighted_sums(layer: Tensor, shares: Tensor) -> Tensor:
    """`(r * m, *layer)` weighted by `(r, m)` and summed over `m`: `(r, *layer)`."""
    rows, count = shares.shape
    return (shares.unsqueeze(1) @ layer.reshape(rows, count, -1)).reshape(rows, *layer.shape[1:])


class _LayerMeans(torch.autograd.Function):
    """Layer means and then features, with a backward pass of the means that computes each piece anew."""

    @staticmethod
    def forward(ctx: Any, part: _Part, images: Tensor, shares: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        ctx.part = part
        ctx.save_for_backward(images, shares, *parameters)  # changed in between, they are an error
        job, found = part.job, []
        for rows, columns in part.pieces(images):
            total: Sequence[Tensor] = ()
            features: list[Tensor] = []
            for span in columns:
                piece = (images[rows, span], shares[rows, span])
                work = job.operations(piece[0].flatten(0, 1))
                *sums, last = run(
                    job.session, job.key("layers"), part.sums, part.eager_sums, work, part.parameters, *piece
                )
                total = [a + b for a, b in zip(total, sums, strict=True)] if total else sums
                features.append(last)
            found.append((*total, torch.cat(features, 1)))
        results = tuple(torch.cat(values) for values in zip(*found, strict=True))
        ctx.mark_non_differentiable(results[-1])
        return results

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        part: _Part = ctx.part
        images, shares, *parameters = ctx.saved_tensors
        job, found = part.job, torch.empty_like(images)
        key = job.key("layers pullback")
        for rows, columns in part.pieces(images):
            own = tuple(value[rows] for value in cotangents[:-1])
            for span in columns:
                piece = (images[rows, span], shares[rows, span])
                work = 3 * job.operations(piece[0].flatten(0, 1))
                found[rows, span] = run(
                    job.session, key, part.pullback, part.eager_pullback, work, tuple(parameters), *piece, own
                )
        return None, found, None, *[None] * len(parameters)
