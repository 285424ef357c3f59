"""Accuracies that decide are plain fractions of new real images, and a spread needs a full window."""

import pytest
import torch
from torch import nn

from core_distill.data import ClassSampler
from core_distill.methods.query_accuracy import query_accuracy, spread
from core_distill.networks import initialise
from core_distill.randomness import derive_generator


class SaysOne(nn.Module):
    """Names everything class 1."""

    def forward(self, images):
        return torch.tensor([0.0, 1.0, 0.5]).expand(len(images), 3)


def test_a_network_that_names_one_class_is_right_for_a_third(sampler):
    found = query_accuracy(SaysOne(), sampler, 7, derive_generator(0))
    assert isinstance(found, float)
    assert found == pytest.approx(1 / 3)


def test_accuracy_of_a_network_by_hand(sampler, new_network):
    network = new_network(derive_generator(2))
    images, labels, _ = sampler.by_class(9, derive_generator(1))
    pairs = zip(images.flatten(0, 1), labels.flatten(), strict=True)
    right = [int(network(image[None]).argmax()) == int(label) for image, label in pairs]
    assert query_accuracy(network, sampler, 9, derive_generator(1)) == pytest.approx(sum(right) / len(right))


def test_images_are_drawn_anew():
    """Two images of one class, of which the network knows one."""
    sampler = ClassSampler(
        torch.tensor([[[[0.0]]], [[[1.0]]]]), torch.zeros(2, dtype=int), num_classes=2, mean=[0], std=[1]
    )
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    initialise(network, derive_generator(0))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0], [0.0]]))
        network[1].bias.copy_(torch.tensor([0.0, 0.5]))
    generator = derive_generator(0)
    assert {query_accuracy(network, sampler, 1, generator) for _ in range(20)} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [([], None), ([0.1, 0.9], None), ([0.1, 0.9, 0.5], 0.8), ([0.1, 0.9, 0.5, 0.6], 0.4), ([0.5] * 9, 0.0)],
)
def test_a_spread_is_of_the_last_window(accuracies, expected):
    found = spread(accuracies, 3)
    assert found == (None if expected is None else pytest.approx(expected))
