"""The normalisation layers an architecture can be built with; each is a function from a channel count to a layer."""

import math
from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

NormLayer = Callable[[int], nn.Module]
"""`norm(channels)` makes the layer for maps `(n, channels, h, w)`."""


def instance_norm(channels: int) -> nn.Module:
    """Each channel of each image on its own, with learned scale and shift; the networks of DC, DSA and DM use it."""
    return nn.GroupNorm(channels, channels)


def group_norm(channels: int) -> nn.Module:
    """Four groups of channels, as in the official DC code; two or one where `channels` is not divisible by four."""
    return nn.GroupNorm(math.gcd(4, channels), channels)


def batch_norm(channels: int) -> nn.Module:
    """Statistics over the whole batch while training: examples are then not independent of each other."""
    return nn.BatchNorm2d(channels)


def no_norm(channels: int) -> nn.Module:
    """No normalisation."""
    return nn.Identity()


NORMS: dict[str, NormLayer] = {
    "batch": batch_norm,
    "group": group_norm,
    "instance": instance_norm,
    "none": no_norm,
}
"""The norms by the names used on the command line."""


def has_dropout(network: nn.Module) -> bool:
    """Whether a forward pass now draws random numbers: some dropout is training."""
    return any(isinstance(layer, _DropoutNd) and layer.training and layer.p > 0 for layer in network.modules())


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether a forward pass now would mix examples: some batch norm is training, or keeps no running statistics."""
    return any(
        isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None) for layer in network.modules()
    )
