"""Divergences of posteriors: closed forms for linear models, score-function estimates, and what each is blind to."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.engine import parameters_of
from core_distill.matching.bayesian import Posteriors, around, forward_kl, reverse_kl, wasserstein
from core_distill.networks import MLP, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch

DOUBLE = {"dtype": torch.float64}


@pytest.fixture
def classifier():
    return network_factory(functools.partial(MLP, hidden=()), (4,), 3)(derive_generator(0)).double()


def a_batch(seed, size):
    images = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed), **DOUBLE)
    return Batch(images, torch.arange(size) % 3)


@pytest.fixture
def posteriors(classifier):
    """A learned set of 5, 8 real examples, and parameters that lie apart."""
    own = a_batch(1, 5)
    own = Batch(own.images.requires_grad_(), F.one_hot(own.labels, 3).to(torch.float64).mul(0.9).requires_grad_())
    start = parameters_of(classifier)
    coreset, expert = ([value + step for value in start] for step in (0.2, -0.3))
    return Posteriors(classifier, a_batch(2, 8), own, start, coreset, expert)


def naive_losses(network, parameters, batch):
    named = dict(zip(dict(network.named_parameters()), parameters, strict=True))
    return F.cross_entropy(functional_call(network, named, (batch.images,)), batch.labels, reduction="none")


def naive_loss(network, parameters, batch):
    return naive_losses(network, parameters, batch).mean()


def gradients(loss, posteriors):
    return torch.autograd.grad(loss, posteriors.synthetic[:2])


def draws(posteriors, centres, samples, scale):
    """The parameters that a divergence draws, in its order."""
    generator = torch.Generator().manual_seed(9)
    return [[around(centre, scale, generator) for centre in centres] for _ in range(samples)]


def test_forward_kl_is_the_difference_of_mean_losses(posteriors):
    ours = forward_kl(posteriors, samples=3, scale=0.1, generator=torch.Generator().manual_seed(9))
    network, synthetic = posteriors.network, posteriors.synthetic
    pairs = draws(posteriors, (posteriors.coreset, posteriors.expert), 3, 0.1)
    terms = [naive_loss(network, e, synthetic) - naive_loss(network, c, synthetic) for c, e in pairs]
    theirs = torch.stack(terms).mean()
    torch.testing.assert_close(ours, theirs)
    for found, wanted in zip(gradients(ours, posteriors), gradients(theirs, posteriors), strict=True):
        torch.testing.assert_close(found, wanted)


def test_reverse_kl_has_the_gradient_of_the_released_estimate(posteriors):
    """The covariance of the gradient of the set's summed log-likelihood with the difference of mean ones, written out."""
    loss = reverse_kl(posteriors, samples=4, scale=0.1, generator=torch.Generator().manual_seed(9))
    network, real, synthetic = posteriors.network, posteriors.real, posteriors.synthetic
    likelihoods, differences = [], []
    for (draw,) in draws(posteriors, (posteriors.coreset,), 4, 0.1):
        own = -naive_losses(network, draw, synthetic)
        likelihoods.append(torch.autograd.grad(own, synthetic[:2], torch.ones_like(own)))
        differences.append((-naive_loss(network, draw, real) - own.mean()).detach())
    centred = [value - torch.stack(differences).mean() for value in differences]
    for place, found in enumerate(gradients(loss, posteriors)):
        mean = torch.stack([parts[place] for parts in likelihoods]).mean(0)
        pairs = zip(likelihoods, centred, strict=True)
        upwards = torch.stack([(parts[place] - mean) * value for parts, value in pairs]).mean(0)
        torch.testing.assert_close(found, -upwards)
        assert upwards.abs().max() > 1e-5


@pytest.mark.parametrize("divergence", [forward_kl, reverse_kl, wasserstein])
def test_nothing_is_between_equal_posteriors(divergence, posteriors):
    same = posteriors._replace(
        expert=posteriors.coreset, real=Batch(*(value.detach() for value in posteriors.synthetic[:2]))
    )
    value = divergence(same, samples=50, scale=1e-7, generator=torch.Generator().manual_seed(0))
    assert abs(value.detach()) < 1e-6


def test_reverse_kl_takes_means_over_examples(posteriors):
    """Real data that is the synthetic set twice over says what the set says."""
    images, labels = (torch.cat([value.detach()] * 2) for value in posteriors.synthetic[:2])
    value = reverse_kl(
        posteriors._replace(real=Batch(images, labels)),
        samples=10,
        scale=0.5,
        generator=torch.Generator().manual_seed(0),
    )
    assert value.detach() < 1e-20


def test_wasserstein_is_the_relative_distance_of_centres(posteriors):
    learned = [value.requires_grad_() for value in posteriors.coreset]
    value = wasserstein(posteriors._replace(coreset=learned), samples=1, scale=0.1, generator=torch.Generator())
    torch.testing.assert_close(value, torch.tensor((0.5 / 0.3) ** 2, **DOUBLE))
    assert all(gradient is not None for gradient in torch.autograd.grad(value, learned))


@pytest.mark.parametrize(("divergence", "samples", "least"), [(forward_kl, 0, 1), (reverse_kl, 1, 2)])
def test_too_few_samples_are_refused(divergence, samples, least, posteriors):
    with pytest.raises(ValueError, match=f"at least {least} samples, got {samples}"):
        divergence(posteriors, samples=samples, scale=0.1, generator=torch.Generator())
