"""The gradient of a loss of all features and logits: that of one graph, whatever the pieces."""

import pytest
import torch

from core_distill.engine import Engine, running_on
from core_distill.engine.outputs import output_gradient
from core_distill.randomness import derive_generator


def compared(features, logits):
    """Each image with all others, and the logits."""
    return (features @ features.T).tanh().sum() + logits.log_softmax(1)[:, 0].sum()


def whole(network, images, loss):
    return torch.autograd.grad(loss(network.features(images), network(images)), list(network.parameters()))


@pytest.mark.parametrize("piece", [0, 1, 3, 7])
def test_it_is_the_gradient_of_one_graph(piece, new_network):
    network = new_network(derive_generator(0)).double()
    images = torch.randn(7, 1, 8, 8, generator=derive_generator(1), dtype=torch.float64)
    with running_on(Engine(piece=piece)):
        found = output_gradient(network, images, compared)
    for ours, theirs in zip(found, whole(network, images, compared), strict=True):
        assert torch.allclose(ours, theirs)
        assert not ours.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_loss_of_features_alone_leaves_the_classifier_alone(new_network):
    network = new_network(derive_generator(0))
    images = torch.randn(3, 1, 8, 8, generator=derive_generator(1))
    found = output_gradient(network, images, lambda features, logits: features.square().sum())
    named = dict(zip((name for name, _ in network.named_parameters()), found, strict=True))
    assert named["classifier.weight"].eq(0).all()
    assert named["blocks.0.weight"].ne(0).any()
