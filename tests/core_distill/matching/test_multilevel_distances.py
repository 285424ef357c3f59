"""Losses over all classes together against autograd on the whole batch, and what they are for one class."""

import pytest
import torch
import torch.nn.functional as F

from core_distill.matching import gradient_distance, layerwise_cosine
from core_distill.matching.gradient_distances import angle_and_difference, convolution_l1, convolution_squared
from core_distill.matching.gradients import class_sum_distance, multilevel_distance
from core_distill.randomness import derive_generator
from core_distill.types import Batch

LOSSES = [class_sum_distance, gradient_distance, multilevel_distance]
DISTANCES = [angle_and_difference, convolution_l1, convolution_squared, layerwise_cosine]


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1))


@pytest.fixture
def batches(sampler):
    return sampler.by_class(6, derive_generator(0)), sampler.by_class(2, derive_generator(2))


def gradient_of(network, images, labels):
    """Of the mean loss of a flat batch, `(1, *parameter)`."""
    found = torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters()), create_graph=True)
    return tuple(value[None] for value in found)


def of_all(network, batch):
    return gradient_of(network, batch.images.flatten(0, 1), batch.labels.flatten(0, 1))


@pytest.mark.parametrize("distance", DISTANCES)
def test_class_sum_is_the_distance_of_the_gradients_of_all_images(network, batches, distance):
    real, own = batches
    expected = distance(of_all(network, own), of_all(network, real))
    torch.testing.assert_close(
        class_sum_distance(network, real, own, distance=distance), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("between_classes", [1.0, 0.5])
@pytest.mark.parametrize("distance", DISTANCES)
def test_multilevel_is_the_sum_over_classes_plus_the_classes_together(network, batches, distance, between_classes):
    real, own = batches
    within = sum(
        distance(gradient_of(network, *pair[:2]), gradient_of(network, *pair[2:]))
        for pair in zip(own.images, own.labels, real.images, real.labels, strict=True)
    )
    together = 3 * distance(of_all(network, own), of_all(network, real))
    found = multilevel_distance(network, real, own, distance=distance, between_classes=between_classes)
    torch.testing.assert_close(found, within + between_classes * together, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", [class_sum_distance, multilevel_distance])
def test_images_feel_what_they_feel_through_the_whole_graph(network, batches, loss):
    real, own = batches
    images = own.images.clone().requires_grad_()
    naive_images = own.images.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(network, real, own._replace(images=images)), images)
    naive_own = own._replace(images=naive_images)
    naive = layerwise_cosine(of_all(network, naive_own), of_all(network, real))
    if loss is multilevel_distance:
        rows = zip(naive_images, own.labels, real.images, real.labels, strict=True)
        within = (layerwise_cosine(gradient_of(network, *r[:2]), gradient_of(network, *r[2:])) for r in rows)
        naive = 3 * naive + sum(within)
    (wanted,) = torch.autograd.grad(naive, naive_images)
    assert wanted.abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("loss", LOSSES)
def test_classes_may_be_permuted(network, batches, loss, distance):
    order = torch.tensor([1, 2, 0])
    permuted = [Batch(batch.images[order], batch.labels[order]) for batch in batches]
    torch.testing.assert_close(
        loss(network, *permuted, distance=distance), loss(network, *batches, distance=distance), rtol=1e-4, atol=1e-4
    )


def test_of_a_single_class_all_are_the_same(network, batches):
    real, own = (Batch(batch.images[:1], batch.labels[:1]) for batch in batches)
    alone = gradient_distance(network, real, own)
    torch.testing.assert_close(class_sum_distance(network, real, own), alone)
    torch.testing.assert_close(multilevel_distance(network, real, own), 2 * alone)


def test_classes_that_trade_places_are_apart_class_by_class_alone(network, batches):
    """Every row differs, but their mean does not."""
    real, _ = batches
    own = Batch(real.images[:, :3], real.labels[:, :3])
    swapped = Batch(own.images.roll(1, 0), own.labels.roll(1, 0))
    torch.testing.assert_close(class_sum_distance(network, own, swapped), torch.tensor(0.0), atol=1e-3, rtol=0)
    assert gradient_distance(network, own, swapped) > 1


def test_padding_is_left_out_and_the_real_side_is_detached(network, batches):
    real, own = batches
    weights = torch.ones(3, 2)
    weights[:, 1] = 0
    short = Batch(own.images[:, :1], own.labels[:, :1])
    torch.testing.assert_close(
        class_sum_distance(network, real, own._replace(weights=weights)), class_sum_distance(network, real, short)
    )
    real.images.requires_grad_()
    own.images.requires_grad_()
    for loss in (class_sum_distance, multilevel_distance):
        loss(network, real, own).backward()
    assert real.images.grad is None
    assert own.images.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in network.parameters())
