"""Gaussian parameters: their spread, their generator, and what stays."""

import math

import torch

from core_distill.networks import ConvNet
from core_distill.networks.gaussian import draw_gaussian
from core_distill.randomness import derive_generator


def test_weights_spread_by_fan_in_and_biases_by_their_own():
    network = ConvNet((3, 16, 16), 10, width=64, depth=2)
    before = [layer.weight.clone() for layer in network.modules() if isinstance(layer, torch.nn.GroupNorm)]
    draw_gaussian(network, derive_generator(0), weight_std=1.5, bias_std=0.3)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            expected = 1.5 / math.sqrt(layer.weight[0].numel())
            assert 0.9 < layer.weight.std().item() / expected < 1.1
            assert layer.weight.abs().max() > 2 * expected, "normal, not uniform"
    biases = torch.cat([layer.bias for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)])
    assert 0.25 < biases.std().item() < 0.35
    after = [layer.weight for layer in network.modules() if isinstance(layer, torch.nn.GroupNorm)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_generator_decides():
    one, two = ConvNet((1, 8, 8), 3, width=4, depth=1), ConvNet((1, 8, 8), 3, width=4, depth=1)
    state = torch.get_rng_state()
    draw_gaussian(one, derive_generator(3))
    draw_gaussian(two, derive_generator(3))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
