"""Mean layers in pieces against a loop over classes in one graph, for every network, precision and compiled code."""

import functools

import pytest
import torch
from torch import nn

from core_distill.engine import Engine, compiled, layer_means, layer_means_and_features, running_on, settings
from core_distill.engine.layers import _Part
from core_distill.networks import NETWORKS, ConvNet, LeNet, ResNet18, network_factory, no_norm
from core_distill.randomness import derive_generator
from core_distill.types import Batch

SMALL = {
    "convnet": functools.partial(ConvNet, width=4),
    "lenet": LeNet,
    "resnet18": functools.partial(ResNet18, width=2, norm=no_norm),
}
WEIGHTS = torch.tensor([[1.0, 2, 0, 1, 1], [1, 1, 1, 1, 3], [0, 0, 0, 0, 0]], dtype=torch.float64)


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1)).double()


@pytest.fixture
def batch():
    images = torch.randn(3, 5, 1, 8, 8, dtype=torch.float64, generator=derive_generator(2))
    return Batch(images, torch.zeros(3, 5, dtype=torch.int64))


def by_hand(network, batch):
    """One class after the other, in one graph."""
    weights = torch.ones(batch.images.shape[:2]) if batch.weights is None else batch.weights
    rows = []
    for images, own in zip(batch.images, weights.to(batch.images.dtype), strict=True):
        layers = network.layer_features(images)
        total = own.sum() if own.sum() else torch.ones_like(own.sum())
        rows.append([sum(w * map_ for w, map_ in zip(own, layer, strict=True)) / total for layer in layers])
    return [torch.stack(layer) for layer in zip(*rows, strict=True)]


def values_and_gradient(means, batch):
    """With cotangents that differ for every number."""
    images = batch.images.detach().clone().requires_grad_()
    found = means(batch._replace(images=images))
    generator = derive_generator(3)
    cotangents = [torch.randn(layer.shape, dtype=torch.float64, generator=generator) for layer in found]
    product = sum((layer * v.to(layer.dtype)).sum() for layer, v in zip(found, cotangents, strict=True))
    return [*(layer.detach() for layer in found), *torch.autograd.grad(product, images)]


@pytest.mark.parametrize("piece", [0, 1, 2, 5, 7, 10, 100])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_values_and_gradients_are_those_of_a_loop_in_one_graph(piece, weights, network, batch):
    batch = batch._replace(weights=weights)
    expected = values_and_gradient(lambda seen: by_hand(network, seen), batch)
    with running_on(Engine(piece=piece)):
        found = values_and_gradient(lambda seen: layer_means(network, seen), batch)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("piece", [0, 2, 7])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_features_of_every_image_come_with_the_means(piece, weights, network, batch):
    batch, passed = batch._replace(weights=weights, images=batch.images.requires_grad_()), []
    expected = network.features(batch.images.flatten(0, 1)).unflatten(0, (3, 5))
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    with running_on(Engine(piece=piece)):
        means, found = layer_means_and_features(network, batch)
        assert sum(passed) == 15
        assert all(torch.equal(a, b) for a, b in zip(means, layer_means(network, batch), strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert not found.requires_grad


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_has_layers(name, batch):
    network = network_factory(SMALL.get(name, NETWORKS[name]), (1, 8, 8), 3)(derive_generator(0)).double().eval()
    expected = values_and_gradient(lambda seen: by_hand(network, seen), batch)
    found = values_and_gradient(lambda seen: layer_means(network, seen), batch)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_gradient_by_finite_differences(network, batch):
    images = batch.images[:2, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda seen: layer_means(network, Batch(seen, batch.labels)), images, fast_mode=True
    )


@pytest.mark.parametrize(
    ("piece", "pieces"),
    [
        (15, [(0, 3, [(0, 5)])]),
        (14, [(0, 1, [(0, 5)]), (1, 2, [(0, 5)]), (2, 3, [(0, 5)])]),
        (2, [(row, row + 1, [(0, 2), (2, 4), (4, 5)]) for row in range(3)]),
    ],
)
def test_a_piece_is_of_whole_rows_or_a_part_of_one(piece, pieces, network, batch):
    with running_on(Engine(piece=piece)):
        found = _Part(network).pieces(batch.images)
    assert [(rows.start, rows.stop, [(s.start, s.stop) for s in columns]) for rows, columns in found] == pieces


def test_nothing_of_the_network_is_touched(network, batch):
    before = [value.clone() for value in network.state_dict().values()]
    images = batch.images.clone().requires_grad_()
    layer_means(network, batch._replace(images=images))[0].sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(layer._forward_hooks for layer in network.modules())


def test_parameters_changed_before_the_backward_pass_are_an_error(network, batch):
    images = batch.images.clone().requires_grad_()
    (*_, last) = layer_means(network, batch._replace(images=images))
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        last.sum().backward()


def test_a_network_that_does_not_tell_of_its_layers_is_refused(batch):
    with pytest.raises(ValueError, match=r"Linear does not tell of its layers: give it `layer_features"):
        layer_means(nn.Linear(2, 2), batch)


def test_compiled_and_eager_agree(monkeypatch, new_network, batch):
    monkeypatch.setattr(settings, "_WORTH_COMPILING", {"cpu": 0.0})
    monkeypatch.setattr(compiled, "_kept", {})
    network, told = new_network(derive_generator(1)), []
    batch = batch._replace(images=batch.images.float())
    expected = values_and_gradient(lambda seen: layer_means(network, seen), batch)
    with running_on(Engine(), tell=told.append):
        found = values_and_gradient(lambda seen: layer_means(network, seen), batch)
    assert sum(text.startswith("compiled") for text in told) == 2
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_close(new_network, batch):
    network = new_network(derive_generator(1))
    batch = batch._replace(images=batch.images.float())
    expected = values_and_gradient(lambda seen: layer_means(network, seen), batch)
    with running_on(Engine(precision="bfloat16")):
        found = values_and_gradient(lambda seen: layer_means(network, seen), batch)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.1 * theirs.norm()
