"""CAFE's loss against loops over classes, closed forms and finite differences."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from core_distill.matching.layer_features import (
    MeanLayers,
    discrimination_loss,
    feature_alignment,
    layer_distance,
    mean_layers,
)
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch

VALUES = {"layer_weights": (0.1, 1.0, 2.0), "discrimination_weight": 0.7}


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1)).double()


@pytest.fixture
def batches(sampler):
    """Real and synthetic, of different sizes, in float64."""
    found = (sampler.by_class(size, derive_generator(size)) for size in (5, 2))
    return tuple(batch._replace(images=batch.images.double()) for batch in found)


class Pixels(nn.Module):
    """Two layers, twice the pixels and the pixels: closed forms, and any number of classes."""

    def layer_features(self, images):
        return 2 * images, images.flatten(1)

    def features(self, images):
        return images.flatten(1)


def by_loops(network, real, synthetic, *, layer_weights, discrimination_weight):
    """Class by class and layer by layer; real images one by one."""
    total = torch.zeros((), dtype=torch.float64)
    centres = []
    for theirs, ours in zip(real.images, synthetic.images, strict=True):
        layers = zip(network.layer_features(theirs), network.layer_features(ours), layer_weights, strict=True)
        for a, b, weight in layers:
            total = total + weight * (a.detach().mean(0) - b.mean(0)).square().sum()
        centres.append(network.features(ours).mean(0))
    for number, images in enumerate(real.images):
        for image in images:
            scores = torch.stack([network.features(image[None]).detach()[0] @ centre for centre in centres])
            total = total - discrimination_weight * scores.log_softmax(0)[number] / len(images)
    return total


def test_the_loss_and_its_gradient_are_those_of_loops(network, batches):
    real, own = batches
    found = []
    for loss in (feature_alignment, by_loops):
        images = own.images.clone().requires_grad_()
        value = loss(network, real, own._replace(images=images), **VALUES)
        found.append((value.detach(), *torch.autograd.grad(value, images)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_gradient_by_finite_differences(network, batches):
    real, own = batches
    inputs = own.images.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda seen: feature_alignment(network, real, own._replace(images=seen), **VALUES), inputs, fast_mode=True
    )


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_shift_of_every_pixel_has_a_closed_form(shift, batches):
    real, _ = batches
    moved = real._replace(images=real.images + shift)
    own, targets = mean_layers(Pixels(), moved), mean_layers(Pixels(), real)
    expected = 3 * 64 * shift**2 * (4 * 0.5 + 3.0)
    found = layer_distance(own, targets, layer_weights=(0.5, 3.0))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [((1.0,), 1 + 4 + 9), ((2.0, 1.0), 2 + 8 + 9), ((7.0, 1.0, 2.0, 3.0), 1 + 8 + 27), ((0.0, 0.0, 1.0), 9)],
)
def test_weights_are_of_the_last_layers(weights, expected):
    own = [torch.full((1, 1), value) for value in (1.0, 2.0, 3.0)]
    targets = [torch.zeros(1, 1)] * 3
    assert layer_distance(own, targets, layer_weights=weights).item() == pytest.approx(expected)


def test_no_weights_are_refused():
    with pytest.raises(ValueError, match="at least one weight"):
        layer_distance([torch.zeros(1, 1)], [torch.zeros(1, 1)], layer_weights=())


def test_discrimination_of_known_scores():
    features = torch.tensor([[[2.0, 0.0], [1.0, 0.0]], [[0.0, 3.0], [0.0, 3.0]]])
    centres = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = (F.softplus(torch.tensor(-2.0)) + F.softplus(torch.tensor(-1.0))) / 2 + F.softplus(torch.tensor(-3.0))
    torch.testing.assert_close(discrimination_loss(features, centres), expected)
    weights = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    expected = F.softplus(torch.tensor(-2.0)) + F.softplus(torch.tensor(-3.0))
    torch.testing.assert_close(discrimination_loss(features, centres, weights), expected)


def test_centres_that_say_nothing_cost_a_guess_in_each_class():
    features = torch.randn(5, 3, 4, generator=derive_generator(0))
    assert discrimination_loss(features, torch.zeros(5, 4)).item() == pytest.approx(5 * torch.tensor(5.0).log().item())


def test_permuting_the_classes_changes_nothing(network, batches):
    order = torch.tensor([2, 0, 1])
    permuted = [Batch(batch.images[order], batch.labels[order]) for batch in batches]
    torch.testing.assert_close(
        feature_alignment(network, *permuted, **VALUES), feature_alignment(network, *batches, **VALUES)
    )


def test_real_side_is_detached_and_network_gradients_untouched(network, batches):
    real, own = (batch._replace(images=batch.images.requires_grad_()) for batch in batches)
    feature_alignment(network, real, own, **VALUES).backward()
    assert own.images.grad.abs().sum() > 0
    assert real.images.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_distance_sees_real_images_through_the_signal_alone(network, batches):
    real, own = batches
    seen = []

    class Zero:
        def __call__(self, network, batch):
            seen.append(batch)
            return tuple(torch.zeros_like(layer) for layer in mean_layers(network, batch))

    found = feature_alignment(network, real, own, signal=Zero(), layer_weights=(1.0,), discrimination_weight=0.0)
    expected = sum(layer.square().sum() for layer in mean_layers(network, own))
    torch.testing.assert_close(found, expected)
    assert seen == [real]


def test_an_image_goes_through_the_network_once(network, batches):
    passed = []
    network.blocks[0].register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    feature_alignment(network, *batches, **VALUES)
    assert sum(passed) == 3 * (5 + 2)


def test_another_signal_gives_the_same_loss_and_hears_nothing_else_of_real_images(network, batches, monkeypatch):
    expected = feature_alignment(network, *batches, **VALUES)
    monkeypatch.setattr(MeanLayers, "with_features", None)
    found = feature_alignment(network, *batches, signal=MeanLayers(), **VALUES)
    torch.testing.assert_close(found, expected)


def test_the_mean_of_each_example_s_layers_is_the_signal(network, batches):
    weights = torch.ones(3, 5, dtype=torch.float64)
    weights[1, 3:] = 0
    batch = batches[0]._replace(weights=weights)
    each = mean_layers.per_example(network, batch)
    for mean, layer in zip(mean_layers(network, batch), each, strict=True):
        assert layer.shape == (3, 5, *mean.shape[1:])
        torch.testing.assert_close(mean[0], layer[0].mean(0))
        torch.testing.assert_close(mean[1], layer[1, :3].mean(0))
    torch.testing.assert_close(each[-1][2, 4].flatten(), network.features(batch.images[2, 4:])[0])


def test_batch_statistics_are_refused(sampler):
    make = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    batch = sampler.by_class(2, derive_generator(0))
    for signal in (mean_layers, mean_layers.per_example):
        with pytest.raises(ValueError, match="normalises over the batch"):
            signal(make(derive_generator(0)), batch)
