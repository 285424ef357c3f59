"""Networks to distil with and to evaluate on, and how fresh ones are made from a generator."""

from torch import nn

from core_distill.networks.convnet import ConvNet
from core_distill.networks.initialise import Architecture, FreshNetworks, initialise, kind_of, network_factory
from core_distill.networks.lenet import LeNet
from core_distill.networks.mlp import MLP
from core_distill.networks.norms import (
    NORMS,
    NormLayer,
    batch_norm,
    group_norm,
    has_batch_statistics,
    has_dropout,
    instance_norm,
    no_norm,
)
from core_distill.networks.resnet import ResNet18
from core_distill.networks.text_cnn import TextCNN

NETWORKS: dict[str, type[nn.Module]] = {
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": ResNet18,
    "text-cnn": TextCNN,
}
"""The architectures by the names used on the command line and in result tables."""


def networks_for(image_shape: tuple[int, ...]) -> dict[str, type[nn.Module]]:
    """Those of `NETWORKS` that such inputs are meant for: images `(c, h, w)`, or sequences `(dimensions, length)`."""
    reads_sequences = len(image_shape) < 3
    return {name: network for name, network in NETWORKS.items() if (network is TextCNN) == reads_sequences}


__all__ = [
    "MLP",
    "NETWORKS",
    "NORMS",
    "Architecture",
    "ConvNet",
    "FreshNetworks",
    "LeNet",
    "NormLayer",
    "ResNet18",
    "TextCNN",
    "batch_norm",
    "group_norm",
    "has_batch_statistics",
    "has_dropout",
    "initialise",
    "instance_norm",
    "kind_of",
    "network_factory",
    "networks_for",
    "no_norm",
]
