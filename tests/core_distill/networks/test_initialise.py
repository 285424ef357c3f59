"""Fresh networks: PyTorch's distributions, bits from the given generator only, factories that compare."""

import functools
import math

import pytest
import torch
from torch import nn

from core_distill.networks import MLP, NETWORKS, ConvNet, FreshNetworks, batch_norm, initialise, network_factory
from core_distill.randomness import derive_generator

SHAPE = (3, 9, 12)


def equal_states(first: nn.Module, second: nn.Module) -> bool:
    return all(
        torch.equal(one, other)
        for one, other in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", ["convnet", "lenet", "mlp"])
def test_bits_equal_those_pytorch_draws_from_the_same_generator_state(name):
    """PyTorch draws at construction, layer after layer; so does the factory, from its own generator."""
    with torch.random.fork_rng():
        torch.random.set_rng_state(derive_generator(11).get_state())
        expected = NETWORKS[name](SHAPE, 5)
    assert equal_states(network_factory(NETWORKS[name], SHAPE, 5)(derive_generator(11)), expected)


def test_weights_fill_pytorchs_bounds():
    """Uniform on `+-1/sqrt(fan_in)`: the largest of n values is within the bound and misses it by about 1/n of it."""
    network = network_factory(NETWORKS["resnet18"], SHAPE, 5)(derive_generator(12))
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert bound * (1 - 20 / layer.weight.numel()) <= layer.weight.abs().max() <= bound
            torch.testing.assert_close(
                layer.weight.std().item(), bound / math.sqrt(3), rtol=4 / math.sqrt(layer.weight.numel()), atol=0
            )


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_seed_fixes_every_bit_and_the_global_generator_is_left_alone(name):
    factory = network_factory(NETWORKS[name], SHAPE, 5)
    before = torch.random.get_rng_state()
    first, again, other = (factory(derive_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal_states(first, again)
    for one, two in zip(first.parameters(), other.parameters(), strict=True):
        assert one.dim() == 1 or not torch.equal(one, two)
    assert first.training


def test_one_generator_gives_one_network_after_another():
    generator = derive_generator(3)
    factory = network_factory(MLP, (4,), 2)
    assert not equal_states(factory(generator), factory(generator))


def test_norm_layers_forget_what_they_learned():
    network = ConvNet(SHAPE, 2, width=4, norm=batch_norm)
    network(torch.randn(8, *SHAPE, generator=derive_generator(4)) + 3)
    norm = network.blocks[1]
    with torch.no_grad():
        norm.weight.fill_(7)
        norm.bias.fill_(7)
    assert norm.num_batches_tracked == 1
    initialise(network, derive_generator(5))
    assert norm.num_batches_tracked == 0
    for tensor, value in ((norm.weight, 1), (norm.bias, 0), (norm.running_mean, 0), (norm.running_var, 1)):
        assert (tensor == value).all()


@pytest.mark.parametrize("kind", ["parameter", "buffer"])
def test_an_unknown_layer_with_state_is_refused_by_name(kind):
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            if kind == "parameter":
                self.scale = nn.Parameter(torch.ones(1))
            else:
                self.register_buffer("scale", torch.ones(1))

    with pytest.raises(ValueError, match="'1' of type Scale"):
        initialise(nn.Sequential(nn.Linear(2, 2), Scale()), derive_generator(0))


def test_factories_compare_and_describe_themselves():
    small = functools.partial(ConvNet, width=16, depth=2)
    assert network_factory(small, SHAPE, 5) == network_factory(functools.partial(ConvNet, depth=2, width=16), SHAPE, 5)
    assert network_factory(small, SHAPE, 5) != network_factory(ConvNet, SHAPE, 5)
    assert hash(network_factory(small, SHAPE, 5)) == hash(network_factory(small, SHAPE, 5))
    assert network_factory(small, SHAPE, 5) == FreshNetworks(ConvNet, SHAPE, 5, (("depth", 2), ("width", 16)))
    assert network_factory(small, SHAPE, 5)(derive_generator(0)).blocks[0].out_channels == 16


def test_a_partial_with_positional_arguments_is_refused():
    with pytest.raises(ValueError, match="keyword arguments only"):
        network_factory(functools.partial(ConvNet, SHAPE), SHAPE, 5)


def test_an_option_that_is_a_list_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="hidden cannot be a list, set or dictionary; use a tuple"):
        network_factory(functools.partial(MLP, hidden=[8, 8]), (1, 4, 4), 3)
