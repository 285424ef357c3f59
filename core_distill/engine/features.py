"""Features and logits of many images in bounded memory, differentiable with respect to the images."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from core_distill.engine.compiled import run
from core_distill.engine.job import Job
from core_distill.engine.losses import cross_entropy
from core_distill.engine.pieces import piece_size, spans
from core_distill.engine.settings import current
from core_distill.types import Network


def features(network: nn.Module, images: Tensor) -> Tensor:
    """`network.features` of a flat batch, `(n, d)`, piece by piece; differentiable once, with respect to `images`.

    The backward pass computes each piece anew. Parameters count as constants.
    """
    part = _Part(network, "features")
    result: Tensor = _Pieces.apply(part, images, *part.parameters)
    return result


@torch.no_grad()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    """What the network makes of a flat batch, `(n, num_classes)`, without a graph."""
    part = _Part(network, "logits")
    result: Tensor = _Pieces.apply(part, images, *part.parameters)
    return result


class _Features(nn.Module):
    """A network's feature extractor as a module, so that it can be called with other parameters."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return cast(Network, self.network).features(images)


class _Part:
    """Features or logits of a network as functions of parameters and images."""

    def __init__(self, network: nn.Module, what: str) -> None:
        self.job = Job(network, cross_entropy, current())
        self.what = what
        self.module = _Features(network) if what == "features" else network
        self.names = [name for name, _ in self.module.named_parameters()]
        self.parameters = tuple(value.detach() for value in self.module.parameters())

    def forward(self, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
        with self.job.session.engine.autocast(images.device):
            result: Tensor = functional_call(self.module, dict(zip(self.names, parameters, strict=True)), (images,))
        return result.to(images.dtype)

    def eager_forward(self, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.forward(parameters, images)

    def pullback(self, parameters: Sequence[Tensor], images: Tensor, cotangents: Tensor) -> Tensor:
        back = vjp(lambda piece: self.forward(parameters, piece), images)[1]
        return cast(Tensor, back(cotangents)[0])

    def eager_pullback(self, parameters: Sequence[Tensor], images: Tensor, cotangents: Tensor) -> Tensor:
        with torch.enable_grad():
            seen = images.detach().requires_grad_()
            return torch.autograd.grad(self.forward(parameters, seen), seen, cotangents)[0]

    def spans(self, images: Tensor) -> list[slice]:
        shape = tuple(images.shape[1:])
        return list(
            spans(len(images), piece_size(self.job.session.engine, self.job.network, shape, len(images), images.device))
        )


class _Pieces(torch.autograd.Function):
    """Features or logits of images, forgotten after the forward pass and computed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, part: _Part, images: Tensor, *parameters: Tensor) -> Tensor:
        ctx.part = part
        ctx.save_for_backward(images, *parameters)  # changed in between, they are an error
        found = []
        for span in part.spans(images):
            piece, work = images[span], part.job.operations(images[span])
            found.append(
                run(
                    part.job.session,
                    part.job.key(part.what),
                    part.forward,
                    part.eager_forward,
                    work,
                    part.parameters,
                    piece,
                )
            )
        return torch.cat(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        part: _Part = ctx.part
        images, *parameters = ctx.saved_tensors
        found = torch.empty_like(images)
        key = part.job.key(f"{part.what} pullback")
        for span in part.spans(images):
            arguments = (tuple(parameters), images[span], cotangents[0][span])
            work = 3 * part.job.operations(images[span])
            found[span] = run(part.job.session, key, part.pullback, part.eager_pullback, work, *arguments)
        return None, found, *[None] * len(parameters)
