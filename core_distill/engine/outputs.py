"""The gradient of a loss that compares the images of a batch with one another, as contrastive ones do."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from core_distill.engine.features import features, logits
from core_distill.engine.pieces import piece_size, spans
from core_distill.engine.settings import current
from core_distill.types import Network

OutputLoss = Callable[[Tensor, Tensor], Tensor]
"""`loss(features (n, d), logits (n, num_classes)) -> scalar`."""


@torch.no_grad()
def output_gradient(network: nn.Module, images: Tensor, loss: OutputLoss) -> tuple[Tensor, ...]:
    """The gradient of `loss` of a flat batch `(n, *shape)` with respect to the network's parameters, in their order.

    Features and logits are found piece by piece, then the loss of all of them, and then what each piece passes on, computed
    anew: memory follows the size of a piece. No graph is left, and the network's `.grad` stay untouched.
    """
    outputs = features(network, images), logits(network, images)
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in outputs]
        cotangents = torch.autograd.grad(loss(*leaves), leaves, materialize_grads=True)
    parameters = list(network.parameters())
    sums = [torch.zeros_like(parameter) for parameter in parameters]
    engine, shape = current().engine, tuple(images.shape[1:])
    for span in spans(len(images), piece_size(engine, network, shape, len(images), images.device)):
        piece = images[span].detach()
        with torch.enable_grad(), engine.autocast(images.device):
            found: list[Tensor] = [cast(Network, network).features(piece), network(piece)]
        felt = [cotangent[span].to(value.dtype) for cotangent, value in zip(cotangents, found, strict=True)]
        for total, gradient in zip(sums, torch.autograd.grad(found, parameters, felt), strict=True):
            total += gradient
    return tuple(sums)
