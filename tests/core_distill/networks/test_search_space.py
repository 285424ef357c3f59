"""The small space of networks: its members, and the one with maxima against a plain forward pass."""

import functools

import pytest
import torch
import torch.nn.functional as F

from core_distill.networks import ConvNet, network_factory
from core_distill.networks.search_space import MaxPoolConvNet, search_space
from core_distill.randomness import derive_generator


def test_every_combination_once():
    space = search_space()
    assert len(space) == 16
    assert len({str(network) for network in space.values()}) == 16
    own = space["width 64, depth 3, norm none, pooling maximum"]
    assert own.func is MaxPoolConvNet
    assert (own.keywords["width"], own.keywords["depth"]) == (64, 3)
    assert space["width 16, depth 2, norm instance, pooling average"].func is ConvNet


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 28, 20)])
def test_maxima_in_the_place_of_averages_and_nothing_else(shape):
    options = {"width": 4, "depth": 2}
    maximum, average = (
        network_factory(functools.partial(kind, **options), shape, 3)(derive_generator(0))
        for kind in (MaxPoolConvNet, ConvNet)
    )
    assert [name for name, _ in maximum.named_parameters()] == [name for name, _ in average.named_parameters()]
    assert all(map(torch.equal, maximum.parameters(), average.parameters()))
    images = torch.randn(2, *shape, generator=derive_generator(1))
    maps = images
    for layer in average.blocks:
        maps = F.max_pool2d(maps, 2) if isinstance(layer, torch.nn.AvgPool2d) else layer(maps)
    torch.testing.assert_close(maximum.features(images), maps.flatten(1))
    torch.testing.assert_close(maximum(images), average.classifier(maps.flatten(1)))


def test_unknown_parts_are_refused():
    with pytest.raises(ValueError, match=r"'layer' is no norm \(batch, .*\) and no pooling \(average, maximum\)"):
        search_space(norms=("layer",))
