"""RFAD: its loss written out, its kernel against the infinite one, and the temperature that outlives episodes."""

import copy
import functools
import math

import pytest
import torch
import torch.nn.functional as F

from core_distill.checkpoint import Checkpoint
from core_distill.distill import distill
from core_distill.matching import InfiniteWidthKernel
from core_distill.methods import RandomFeatureRegression
from core_distill.methods.temperature import LearnedTemperature
from core_distill.networks import ConvNet, batch_norm, network_factory, no_norm
from core_distill.networks.gaussian import draw_gaussian
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, find_recipe, prepare
from core_distill.types import Stateful

TOY = {"batch_size": 12, "width": 4, "depth": 2, "num_networks": 2, "steps": 6}


def toy(**changes):
    return find_recipe("rfad", images_per_class=2, schedule="cpu").with_values({**TOY, **changes})


def written_out(plan, platt, logarithm):
    """The first loss, without the engine: the batch, then one network after the other."""
    generator, method = derive_generator(4), plan.method
    real = method.real.batch(method.batch_size, generator)
    images, labels = plan.synthetic.batch()[:2]
    if not labels.is_floating_point():
        labels = F.one_hot(labels, 3)
    fake, own = [], []
    for _ in range(method.num_networks):
        network = method.new_network(generator)
        draw_gaussian(network, generator)
        fake.append(network.features(images).double())
        own.append(network.features(real.images).detach().double())
    f, g = (torch.cat(parts, 1) / (method.num_networks * parts[0].shape[1]) ** 0.5 for parts in (fake, own))
    kernel, n = 2 * f @ f.T + 0.01, len(images)
    ridge = kernel + method.regularisation * kernel.trace() / n * torch.eye(n, dtype=torch.float64)
    predictions = (2 * g @ f.T + 0.01) @ torch.linalg.inv(ridge) @ (labels.double() - 1 / 3)
    if platt:
        return F.cross_entropy(math.exp(logarithm) * predictions, real.labels)
    return 0.5 * (predictions - F.one_hot(real.labels, 3) + 1 / 3).square().mean()


@pytest.mark.parametrize(("platt", "logarithm"), [(True, 0.0), (True, 1.0), (False, 0.0)])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_loss_and_its_gradients_are_the_papers(labels, platt, logarithm, sampler):
    plans = [prepare(sampler, toy(labels=labels, platt=platt), seed=0) for _ in range(2)]
    plans[0].method._temperature.on(torch.device("cpu")).detach().fill_(logarithm)
    ours = next(plans[0].method.episode(plans[0].synthetic, derive_generator(4)))
    theirs = written_out(plans[1], platt, logarithm)
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-4, atol=1e-5)
    ours.backward()
    theirs.backward()
    for one, other in zip(plans[0].synthetic.parameters(), plans[1].synthetic.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_many_networks_come_close_to_the_infinite_one(sampler):
    """Its Gaussian process, by one over the root of how many there are."""
    new_network = network_factory(functools.partial(ConvNet, width=16, depth=2, norm=no_norm), (1, 8, 8), 3)
    images = sampler.by_class(2, derive_generator(0)).images.flatten(0, 1)
    expected = InfiniteWidthKernel(new_network(derive_generator(0)), tangent=False)(images, images)
    errors = []
    for count in (2, 128):
        method = RandomFeatureRegression(real=sampler, new_network=new_network, num_networks=count)
        found = [method._kernels(images, images, derive_generator(seed)) for seed in range(4)]
        assert all(torch.equal(*pair) for pair in found)
        errors.append(torch.stack([(pair[0] - expected).norm() for pair in found]).square().mean().sqrt())
    assert errors[1] < 0.05 * expected.norm()
    assert 4 < errors[0] / errors[1] < 16


def test_the_temperature_follows_its_own_gradient_and_the_loss_uses_it(sampler):
    plan = prepare(sampler, toy(temperature_rate=0.1), seed=0)
    assert isinstance(plan.method, Stateful)
    assert plan.method.state_dict() == {}
    episode = plan.method.episode(plan.synthetic, derive_generator(4))
    first = next(episode)
    assert list(episode) == []
    value = plan.method.state_dict()["value"]
    assert value.abs().item() == pytest.approx(0.1, rel=1e-4), "the first step of Adam is its rate"
    second = next(plan.method.episode(plan.synthetic, derive_generator(4)))
    assert second.item() < first.item()
    second.backward()
    assert plan.method._temperature.on(torch.device("cpu")).grad is None


@pytest.mark.parametrize("logarithm", [0.0, 1.0])
def test_the_temperatures_gradient_is_the_losss_slope(logarithm, sampler, monkeypatch):
    taken = []
    monkeypatch.setattr(LearnedTemperature, "step", lambda self, gradient: taken.append(gradient.item()))
    plans = [prepare(sampler, toy(), seed=0) for _ in range(3)]
    plans[0].method._temperature.on(torch.device("cpu")).detach().fill_(logarithm)
    list(plans[0].method.episode(plans[0].synthetic, derive_generator(4)))
    higher, lower = (
        written_out(plan, platt=True, logarithm=logarithm + shift).item()
        for plan, shift in zip(plans[1:], (1e-3, -1e-3), strict=True)
    )
    assert taken == [pytest.approx((higher - lower) / 2e-3, rel=1e-3)]


def test_a_temperature_goes_on_where_it_was_saved():
    def run(temperature, gradients):
        for gradient in gradients:
            temperature.on(torch.device("cpu"))
            temperature.step(torch.tensor(gradient))
        return temperature

    whole = run(LearnedTemperature(0.1), [1.0, -0.5, 2.0])
    half, again = run(LearnedTemperature(0.1), [1.0, -0.5]), LearnedTemperature(0.1)
    again.load_state_dict(half.state_dict())
    assert again.state_dict() == half.state_dict()
    assert torch.equal(run(again, [2.0]).state_dict()["value"], whole.state_dict()["value"])


def test_a_saved_temperature_stays_as_it_was():
    temperature = LearnedTemperature(0.1)
    temperature.on(torch.device("cpu"))
    temperature.step(torch.tensor(1.0))
    saved = temperature.state_dict()
    before = copy.deepcopy(saved)
    again = LearnedTemperature(0.1)
    again.load_state_dict(saved)
    for one in (temperature, again):
        one.on(torch.device("cpu"))
        one.step(torch.tensor(2.0))
    assert saved == before


class KilledError(Exception):
    pass


def test_killed_and_resumed_ends_with_the_same_bits(sampler, tmp_path):
    expected = condense(sampler, toy(), seed=3).state_dict()

    def kill(progress):
        if progress.step == 4:
            raise KilledError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        condense(sampler, toy(), seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0), observers=[kill])
    resumed = condense(sampler, toy(), seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0))
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_the_loss_goes_down(digits):
    losses = []
    recipe = toy(steps=40, batch_size=128, width=16)
    condense(digits.train, recipe, seed=0, observers=[lambda progress: losses.append(progress.loss.item())])
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_images_that_cannot_be_told_apart_are_refused(sampler):
    plan = prepare(sampler, toy(regularisation=0.0), seed=0)
    with torch.no_grad():
        plan.synthetic.images.pixels[:] = 1.0
    with pytest.raises(ValueError, match="not positive definite with regularisation 0: raise regularisation"):
        distill(plan.method, plan.synthetic, plan.optimizer, steps=1, seed=0)


def test_networks_with_batch_statistics_and_none_at_all_are_refused(sampler):
    new_network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    plan = prepare(sampler, toy(), seed=0)
    method = RandomFeatureRegression(real=sampler, new_network=new_network)
    with pytest.raises(ValueError, match="normalises over the batch"):
        next(method.episode(plan.synthetic, derive_generator(0)))
    with pytest.raises(ValueError, match="num_networks must be at least 1, got 0"):
        RandomFeatureRegression(real=sampler, new_network=new_network, num_networks=0)
