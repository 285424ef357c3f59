"""What every matching loss needs: forward passes in pieces that fit the cache, weighted class means, one refusal."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from core_distill.networks import has_batch_statistics

CHUNK = 256
"""Images a forward pass without a graph takes at once: 2,000 at once are slower per image (page faults on 1 GB)."""


def in_chunks(function: Callable[[Tensor], Tensor], images: Tensor, *, chunk: int = CHUNK) -> Tensor:
    """`function(images (n, ...)) -> (n, ...)` in pieces of `chunk`; in one piece where a gradient is wanted."""
    if len(images) <= chunk or (torch.is_grad_enabled() and images.requires_grad):
        return function(images)
    return torch.cat([function(piece) for piece in images.split(chunk)])


def class_means(values: Tensor, weights: Tensor | None) -> Tensor:
    """Means over examples, `(k, n, ...) -> (k, ...)`; `weights (k, n)` of 0 leave padding out, an empty row gives 0."""
    if weights is None:
        return values.mean(1)
    shaped = weights.view(*weights.shape, *[1] * (values.dim() - 2))
    total = weights.sum(1).clamp(min=1e-12).view(-1, *[1] * (values.dim() - 2))
    return (values * shaped).sum(1) / total


def refuse_batch_statistics(network: nn.Module) -> None:
    """Raise `ValueError` where one class's statistics would leak into another in a pass over all classes."""
    if has_batch_statistics(network):
        raise ValueError(
            "this network normalises over the batch, so classes passed through it together would share statistics; "
            "match with norm=instance_norm, group_norm or no_norm, or call network.eval() with statistics of your own"
        )
