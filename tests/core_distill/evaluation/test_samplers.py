"""Samplers against the posterior of Bayesian linear regression, which is normal with a known mean and covariance."""

import functools
import itertools

import pytest
import torch

from core_distill.engine import parameters_of, squared_error
from core_distill.evaluation import Hmc, Potential, Sghmc
from core_distill.networks import MLP, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch

PRECISION = 2.0


@pytest.fixture
def regression():
    """Two numbers to one, 5 examples, unit noise: squared error is minus the log-likelihood."""
    network = network_factory(functools.partial(MLP, hidden=()), (2,), 1)(derive_generator(0)).double()
    generator = torch.Generator().manual_seed(1)
    images, labels = (torch.randn(5, width, dtype=torch.float64, generator=generator) for width in (2, 1))
    return Potential(network, Batch(images, labels), PRECISION, squared_error)


def exact(potential):
    """Mean and covariance of (two weights, bias)."""
    images, labels, _ = potential.batch
    design = torch.cat([images, torch.ones(len(images), 1, dtype=torch.float64)], 1)
    covariance = torch.linalg.inv(design.mT @ design + PRECISION * torch.eye(3, dtype=torch.float64))
    return (covariance @ design.mT @ labels).flatten(), covariance


class Normal:
    """The regression's posterior as it is known: what a `Potential` computes by passes of a network, quickly."""

    def __init__(self, potential):
        self.network = potential.network
        self.mean, self.covariance = exact(potential)
        self.inverse = torch.linalg.inv(self.covariance)

    def value(self, parameters):
        away = flat(parameters) - self.mean
        return 0.5 * away @ self.inverse @ away

    def gradient(self, parameters):
        slope = self.inverse @ (flat(parameters) - self.mean)
        parts = zip(slope.split([2, 1]), parameters, strict=True)
        return tuple(part.view_as(value) for part, value in parts)


def flat(draw):
    return torch.cat([value.flatten() for value in draw])


def drawn(sampler, potential, count, seed=0):
    draws = sampler(potential, parameters_of(potential.network), derive_generator(seed))
    return torch.stack([flat(draw) for draw in itertools.islice(draws, count)])


def test_potential_and_gradient_are_those_of_the_posterior(regression):
    mean, covariance = exact(regression)
    start = parameters_of(regression.network)
    at, there = flat(start), tuple(value + 0.3 for value in start)
    gradient = torch.linalg.solve(covariance, at - mean)
    torch.testing.assert_close(flat(regression.gradient(start)), gradient)
    distance = [
        0.5 * (flat(point) - mean) @ torch.linalg.solve(covariance, flat(point) - mean) for point in (there, start)
    ]
    torch.testing.assert_close(regression.value(there) - regression.value(start), distance[0] - distance[1])
    torch.testing.assert_close(Normal(regression).gradient(start), regression.gradient(start))


@pytest.mark.parametrize(
    "sampler",
    [Hmc(step_size=0.4, leapfrog_steps=4), Sghmc(step_size=0.1, friction=0.2, steps=15)],
    ids=["hmc", "sghmc"],
)
def test_draws_have_the_posteriors_mean_and_covariance(sampler, regression):
    posterior = Normal(regression)
    mean, covariance = posterior.mean, posterior.covariance
    draws = drawn(sampler, posterior, 1100)[100:]
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.mT.cov(), covariance, rtol=0, atol=0.04)
    assert covariance.diagonal().min() > 0.12


def test_temperature_sharpens_the_posterior(regression):
    cold = drawn(Sghmc(step_size=0.1, friction=0.2, steps=10, temperature=0.01), Normal(regression), 300)[100:]
    mean, covariance = exact(regression)
    torch.testing.assert_close(cold.mT.cov() / 0.01, covariance, rtol=0, atol=0.15)
    frozen = drawn(Sghmc(step_size=0.1, friction=0.2, steps=10, temperature=0.0), Normal(regression), 60)[-1]
    torch.testing.assert_close(frozen, mean, rtol=1e-4, atol=1e-6)


def test_hmc_keeps_almost_all_of_short_steps_and_nothing_of_long_ones(regression):
    fine = drawn(Hmc(step_size=0.02, leapfrog_steps=3), regression, 40)
    assert (fine.diff(dim=0) != 0).any(1).float().mean() > 0.95
    start = flat(parameters_of(regression.network))
    for step_size in (50.0, 1e200):  # the second overflows
        assert (drawn(Hmc(step_size=step_size, leapfrog_steps=3), regression, 10) == start).all()
        with pytest.raises(ValueError, match=r"HMC refused its first 20 draws, each of step_size .*: lower it"):
            drawn(Hmc(step_size=step_size, leapfrog_steps=3), regression, 20)


@pytest.mark.parametrize("sampler", [Hmc(leapfrog_steps=2), Sghmc(steps=2)], ids=["hmc", "sghmc"])
def test_the_same_seed_gives_the_same_draws_and_the_network_stays(sampler, regression):
    before = [value.clone() for value in parameters_of(regression.network)]
    first, again, other = (drawn(sampler, regression, 5, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(map(torch.equal, before, parameters_of(regression.network)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hmc(step_size=0.0), "step_size must be above 0"),
        (lambda: Hmc(leapfrog_steps=0), "steps at least 1"),
        (lambda: Sghmc(steps=0), "steps at least 1"),
        (lambda: Sghmc(friction=0.0), r"friction must lie in \(0, 1\]"),
        (lambda: Sghmc(temperature=-1.0), "temperature be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_energies_of_many_parameters_keep_the_differences_that_decide():
    """Half of |theta|^2 is 2 million here, where float32 counts in quarters."""
    network = torch.nn.Linear(2000, 2000)
    images, labels = torch.zeros(1, 2000), torch.zeros(1, dtype=torch.int64)
    potential = Potential(network, Batch(images, labels))
    parameters = tuple(torch.randn(v.shape, generator=derive_generator(0)) for v in parameters_of(network))
    moved = (parameters[0] + 1e-5 * parameters[0].sign(), parameters[1])
    exact = [0.5 * sum(v.double().square().sum() for v in one) for one in (moved, parameters)]
    found = potential.value(moved) - potential.value(parameters)
    torch.testing.assert_close(found, exact[0] - exact[1], rtol=1e-6, atol=1e-3)
