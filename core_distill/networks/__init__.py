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

NETWORKS: dict[str, type[nn.Module]] = {
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": ResNet18,
}
"""The architectures by the names used on the command line and in result tables."""

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
    "batch_norm",
    "group_norm",
    "has_batch_statistics",
    "has_dropout",
    "initialise",
    "instance_norm",
    "kind_of",
    "network_factory",
    "no_norm",
]
