"""RCIG: its step written out, resuming, and what goes wrong. The mathematics is tested in `matching`."""

import functools

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.distill import distill
from core_distill.matching.convexified import ConvexProblem, at_most, implicit_gradient, outer_loss
from core_distill.matching.implicit import conjugate_gradient
from core_distill.matching.kernels import centred_labels
from core_distill.methods import ConvexifiedGradients, convexified
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.networks.gaussian import draw_gaussian
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, find_recipe, prepare
from core_distill.types import Stateful

TOY = {
    "batch_size": 12,
    "width": 4,
    "depth": 2,
    "pool_size": 2,
    "max_age": 3,
    "pool_steps": 2,
    "inner_steps": 3,
    "inverse_steps": 3,
    "steps": 6,
}


def toy(**changes):
    return find_recipe("rcig", images_per_class=2, schedule="cpu").with_values({**TOY, **changes})


def by_hand(plan, stretch=1.0):
    """The first step, where the temperature is 0.

    `stretch` makes the implicit part longer before it is compared with the direct one.
    """
    generator, method = derive_generator(4), plan.method
    torch.randint(2, (), generator=generator)
    network = method.new_network(generator)
    draw_gaussian(network, generator, weight_std=1.0, bias_std=0.0)
    real = method.real.batch(method.batch_size, generator)
    images, labels = plan.synthetic.batch()[:2]
    targets = centred_labels(labels, 3)
    problem = ConvexProblem(network, images, targets, regularisation=method.regularisation)
    tangent = conjugate_gradient(problem.hessian_product, problem.pull(), terms=method.inner_steps, rate=0)
    outer = outer_loss(problem, tangent, real, torch.zeros(()))
    vector = conjugate_gradient(problem.hessian_product, outer.to_body, terms=method.inverse_steps, rate=0)
    implicit = implicit_gradient(problem, tangent, vector)
    to_images, to_targets = (
        a + at_most(stretch * b, a) for a, b in zip((outer.to_images, outer.to_targets), implicit, strict=True)
    )
    return outer.value, (images * to_images).sum() + (targets * to_targets).sum()


@pytest.mark.parametrize("stretch", [1.0, 1e6])
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_the_gradient_is_the_direct_one_and_the_shortened_implicit_one(labels, stretch, sampler, monkeypatch):
    monkeypatch.setattr(
        convexified, "implicit_gradient", lambda *args: tuple(stretch * part for part in implicit_gradient(*args))
    )
    plans = [prepare(sampler, toy(labels=labels), seed=0) for _ in range(2)]
    ours = next(plans[0].method.episode(plans[0].synthetic, derive_generator(4)))
    value, product = by_hand(plans[1], stretch)
    torch.testing.assert_close(ours, value)
    ours.backward()
    product.backward()
    for one, other in zip(plans[0].synthetic.parameters(), plans[1].synthetic.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_networks_start_as_the_released_ones(sampler):
    """Weights of variance 1 / fan-in and no biases: the ridge is not relative to the kernel, whose size they decide."""
    plan = prepare(sampler, toy(width=32, norm="none"), seed=0)
    network = plan.method._start(derive_generator(0))
    for name, value in network.named_parameters():
        if name.endswith("bias"):
            assert not value.any()
        else:
            assert value.std().item() == pytest.approx(value[0].numel() ** -0.5, rel=0.1)


def test_a_network_trains_after_its_loss_and_the_temperature_moves(sampler):
    plan = prepare(sampler, toy(pool_size=1, pool_steps=4), seed=0)
    episode = plan.method.episode(plan.synthetic, derive_generator(4))
    next(episode)
    before = plan.method.state_dict()
    assert list(episode) == []
    after = plan.method.state_dict()
    ages = [state["pool"]["members"][0]["age"] for state in (before, after)]
    assert ages[0] == 0
    assert 1 <= ages[1] <= 4
    assert before["temperature"]["value"] == 0
    assert after["temperature"]["value"].abs().item() == pytest.approx(0.03, rel=1e-3)


def test_a_network_trains_on_the_updated_set(sampler):
    plan = prepare(sampler, toy(pool_size=1), seed=0)
    episode = plan.method.episode(plan.synthetic, derive_generator(0))
    next(episode)
    (before,) = plan.method.state_dict()["pool"]["members"]
    with torch.no_grad():
        plan.synthetic.images.pixels.zero_()
    assert list(episode) == []
    (after,) = plan.method.state_dict()["pool"]["members"]
    assert after["age"] > before["age"]
    name = "blocks.0.weight"
    assert torch.equal(before["network"][name], after["network"][name]), "zero images give the first layer no gradient"


class KilledError(Exception):
    pass


@pytest.mark.parametrize("labels", ["hard", "soft"])
@pytest.mark.parametrize("stop", [2, 5])
def test_killed_and_resumed_ends_with_the_same_bits(stop, labels, sampler, tmp_path):
    expected = condense(sampler, toy(labels=labels), seed=3).state_dict()

    def kill(progress):
        if progress.step == stop:
            raise KilledError

    path = tmp_path / "checkpoint.safetensors"
    checkpoint = Checkpoint(path, identity={}, every_seconds=0)
    with pytest.raises(KilledError):
        condense(sampler, toy(labels=labels), seed=3, checkpoint=checkpoint, observers=[kill])
    resumed = condense(sampler, toy(labels=labels), seed=3, checkpoint=Checkpoint(path, identity={}, every_seconds=0))
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_the_loss_goes_down(digits):
    losses = []
    recipe = toy(steps=30, batch_size=128, width=8, pool_size=1, max_age=1000)
    condense(digits.train, recipe, seed=0, observers=[lambda progress: losses.append(progress.loss.item())])
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_images_that_cannot_be_told_apart_are_refused(sampler):
    plan = prepare(sampler, toy(regularisation=1e-20), seed=0)
    with torch.no_grad():
        plan.synthetic.images.pixels[:] = 1.0
    with pytest.raises(ValueError, match=r"not positive definite .* raise regularisation"):
        distill(plan.method, plan.synthetic, plan.optimizer, steps=1, seed=0)


def test_networks_with_batch_statistics_are_refused(sampler):
    new_network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    method = ConvexifiedGradients(real=sampler, new_network=new_network)
    assert isinstance(method, Stateful)
    with pytest.raises(ValueError, match="normalises over the batch"):
        next(method.episode(prepare(sampler, toy(), seed=0).synthetic, derive_generator(0)))


@pytest.mark.parametrize("name", ["inner_steps", "inverse_steps", "pool_steps"])
def test_counts_of_nothing_are_refused(name, sampler, new_network):
    with pytest.raises(ValueError, match="at least 1"):
        ConvexifiedGradients(real=sampler, new_network=new_network, **{name: 0})
