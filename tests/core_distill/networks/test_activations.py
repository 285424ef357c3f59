"""What networks tell of their layers: every stage in order, ending with the features."""

import functools

import pytest
import torch
from torch import nn

from core_distill.engine import Layered
from core_distill.networks import MLP, NETWORKS, ConvNet, LeNet, ResNet18, TextCNN, network_factory, no_norm
from core_distill.networks.activations import activations
from core_distill.randomness import derive_generator

SMALL = {
    "convnet": functools.partial(ConvNet, width=8),
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": functools.partial(ResNet18, width=4),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
@pytest.mark.parametrize("image_shape", [(1, 12, 20), (3, 28, 28)])
def test_the_last_layer_is_the_features(name, image_shape):
    network = network_factory(SMALL.get(name, NETWORKS[name]), image_shape, 4)(derive_generator(0)).eval()
    images = torch.randn(3, *image_shape, generator=derive_generator(1))
    assert isinstance(network, Layered)
    layers = network.layer_features(images)
    assert len(layers) > 1
    torch.testing.assert_close(layers[-1].flatten(1), network.features(images))


@pytest.mark.parametrize(
    ("architecture", "shapes"),
    [
        (functools.partial(ConvNet, width=6), [(6, 32, 32), (6, 16, 16), (6, 8, 8), (6, 4, 4)]),
        (LeNet, [(6, 28, 28), (16, 10, 10), (120,), (84,)]),
        (functools.partial(MLP, hidden=(5, 7)), [(5,), (7,)]),
        (functools.partial(MLP, hidden=()), [(784,)]),
        (functools.partial(ResNet18, width=4), [(4, 28, 28), (8, 14, 14), (16, 7, 7), (32, 4, 4), (32,)]),
        (functools.partial(TextCNN, width=4, spans=(2, 3)), [(4, 27), (4, 28), (8,)]),
    ],
)
def test_shapes(architecture, shapes):
    network = network_factory(architecture, (1, 28, 28), 3)(derive_generator(0)).eval()
    assert [tuple(layer.shape[1:]) for layer in network.layer_features(torch.zeros(2, 1, 28, 28))] == shapes


def test_maps_of_a_convnet_are_those_before_pooling():
    network = network_factory(functools.partial(ConvNet, width=5, depth=2), (1, 8, 8), 3)(derive_generator(0))
    first, second, last = network.layer_features(torch.randn(2, 1, 8, 8, generator=derive_generator(1)))
    torch.testing.assert_close(network.blocks[4:7](torch.nn.functional.avg_pool2d(first, 2)), second)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(second, 2), last)


def test_stages_of_a_resnet_follow_one_another():
    architecture = functools.partial(ResNet18, width=4, norm=no_norm)
    network = network_factory(architecture, (1, 8, 8), 3)(derive_generator(0))
    layers = network.layer_features(torch.randn(2, 1, 8, 8, generator=derive_generator(1)))
    assert [tuple(layer.shape[1:]) for layer in layers] == [(4, 8, 8), (8, 4, 4), (16, 2, 2), (32, 1, 1), (32,)]
    for start, before, after in zip((5, 7, 9), layers, layers[1:], strict=False):
        torch.testing.assert_close(network.blocks[start : start + 2](before), after)


def test_activations_of_a_sequence():
    layers = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Softsign())
    inputs = torch.tensor([[[-1.0, 3.0]]])
    assert [found.tolist() for found in activations(layers, inputs)] == [[[0, 3]], [[0, 0.75]]]
    assert [found.tolist() for found in activations(layers[:2], inputs)] == [[[0, 3]]]
    assert [found.tolist() for found in activations(nn.Sequential(), inputs)] == [inputs.tolist()]
