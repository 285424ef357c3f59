"""NCFM's distance: complex numbers written out, known distributions, and finite differences."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from core_distill.matching import characteristic_functions
from core_distill.matching.characteristic_functions import (
    CharacteristicFunction,
    characteristic_discrepancy,
    characteristic_distance,
)
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1)).double()


@pytest.fixture
def batches(sampler):
    """Real and synthetic, of different sizes, in float64."""
    found = (sampler.by_class(size, derive_generator(size)) for size in (5, 2))
    return tuple(batch._replace(images=batch.images.double()) for batch in found)


@pytest.fixture
def frequencies(network, batches):
    size = network.features(batches[0].images[0, :1]).shape[1]
    return 3 * torch.randn(7, size, dtype=torch.float64, generator=derive_generator(4))


class Angles(nn.Module):
    """Features of length 1 at the angle that the only pixel says."""

    def features(self, images):
        return torch.cat([images.flatten(1).cos(), images.flatten(1).sin()], 1)


def at_angles(*rows):
    images = torch.tensor(rows, dtype=torch.float64)[..., None]
    return Batch(images, torch.zeros(images.shape[:2], dtype=torch.int64))


def by_complex_numbers(network, real, synthetic, frequencies):
    """The distance in the complex plane, class by class, image by image."""
    total = torch.zeros((), dtype=torch.float64)
    for theirs, ours in zip(real.images, synthetic.images, strict=True):
        found = []
        for images in (theirs.detach(), ours):
            features = [F.normalize(network.features(image[None])[0], dim=0) for image in images]
            found.append(sum(torch.exp(1j * (frequencies @ feature)) for feature in features) / len(features))
        total = total + (found[0].detach() - found[1]).abs().mean()
    return total


@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_with_equal_weights_it_is_the_distance_in_the_complex_plane(weight, network, batches, frequencies):
    real, own = batches
    found = []
    for loss in (
        functools.partial(characteristic_distance, amplitude_weight=weight, phase_weight=weight),
        lambda *arguments: math.sqrt(weight) * by_complex_numbers(*arguments),
    ):
        images = own.images.clone().requires_grad_()
        value = loss(network, real, own._replace(images=images), frequencies)
        found.append((value.detach(), *torch.autograd.grad(value, images)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("amplitude", "phase"), [(0.5, 0.5), (1.0, 0.0), (0.2, 0.9)])
def test_gradient_by_finite_differences(amplitude, phase, network, batches, frequencies):
    real, own = batches
    inputs = own.images.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda seen: characteristic_distance(
            network, real, own._replace(images=seen), frequencies, amplitude_weight=amplitude, phase_weight=phase
        ),
        inputs,
        fast_mode=True,
    )


def test_single_points_differ_in_phase_alone():
    frequencies = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    real, own = at_angles([0.3]), at_angles([1.1])
    assert characteristic_distance(Angles(), real, own, frequencies, phase_weight=0).item() == pytest.approx(
        0, abs=1e-5
    )
    gaps = torch.tensor([math.cos(0.3) - math.cos(1.1), 2 * (math.sin(0.3) - math.sin(1.1))])
    expected = (2 * (1 - gaps.cos())).sqrt().mean()
    found = characteristic_distance(Angles(), real, own, frequencies, amplitude_weight=0, phase_weight=1)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_narrower_distribution_about_the_same_point_differs_in_amplitude_alone():
    """Seen along the second axis, symmetric about 0: both functions are real numbers, one closer to 1."""
    frequencies = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    real, own = at_angles([-0.8, 0.8]), at_angles([-0.2, 0.2])
    assert characteristic_distance(Angles(), real, own, frequencies, amplitude_weight=0).item() == pytest.approx(
        0, abs=1e-5
    )
    expected = math.cos(math.sin(0.2)) - math.cos(math.sin(0.8))
    found = characteristic_distance(Angles(), real, own, frequencies, amplitude_weight=1)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_characteristic_function_of_a_circle_is_bessel_s():
    real, imaginary = CharacteristicFunction(torch.tensor([[3.0, 4.0], [0.5, 0.0]], dtype=torch.float64))(
        Angles(), at_angles(torch.arange(200, dtype=torch.float64).mul(math.pi / 100).tolist())
    )
    expected = torch.special.bessel_j0(torch.tensor([[5.0, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(real, expected)
    torch.testing.assert_close(imaginary, torch.zeros_like(expected), atol=1e-12, rtol=0)


def test_equal_distributions_are_at_no_distance_and_give_no_gradient(network, batches, frequencies):
    real, _ = batches
    images = real.images.clone().requires_grad_()
    value = characteristic_distance(network, real, real._replace(images=images), frequencies)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-5)
    assert (images.grad == 0).all()


def test_numbers_without_a_length_have_finite_gradients():
    own = tuple(torch.zeros(1, 2, requires_grad=True) for _ in range(2))
    targets = (torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 0.0]]))
    characteristic_discrepancy(own, targets).sum().backward()
    assert all(value.grad.isfinite().all() for value in own)


def test_permuting_the_classes_changes_nothing(network, batches, frequencies):
    order = torch.tensor([2, 0, 1])
    permuted = [Batch(batch.images[order], batch.labels[order]) for batch in batches]
    torch.testing.assert_close(
        characteristic_distance(network, *permuted, frequencies),
        characteristic_distance(network, *batches, frequencies),
    )


@pytest.mark.parametrize("numbers", [1, 80, 1 << 24])
def test_the_memory_bound_changes_nothing_and_the_mean_of_examples_is_the_signal(
    numbers, monkeypatch, network, batches, frequencies
):
    monkeypatch.setattr(characteristic_functions, "_NUMBERS_AT_ONCE", numbers)
    weights = torch.ones(3, 5, dtype=torch.float64)
    weights[1, 3:] = 0
    signal = CharacteristicFunction(frequencies)
    found = signal(network, batches[0]._replace(weights=weights))
    for mean, each in zip(found, signal.per_example(network, batches[0]), strict=True):
        assert (mean.shape, each.shape) == ((3, 7), (3, 5, 7))
        torch.testing.assert_close(mean[0], each[0].mean(0))
        torch.testing.assert_close(mean[1], each[1, :3].mean(0))
    for mean, each in zip(signal(network, batches[0]), signal.per_example(network, batches[0]), strict=True):
        torch.testing.assert_close(mean, each.mean(1))


def test_real_side_is_detached_and_network_gradients_untouched(network, batches, frequencies):
    real, own = (batch._replace(images=batch.images.requires_grad_()) for batch in batches)
    characteristic_distance(network, real, own, frequencies).backward()
    assert own.images.grad.abs().sum() > 0
    assert real.images.grad is None
    assert all(parameter.grad is None for parameter in network.parameters())


def test_batch_statistics_are_refused(sampler):
    make = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    batch = sampler.by_class(2, derive_generator(0))
    with pytest.raises(ValueError, match="normalises over the batch"):
        CharacteristicFunction(torch.zeros(1, 16))(make(derive_generator(0)), batch)
