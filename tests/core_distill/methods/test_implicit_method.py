"""Implicit differentiation: one loss is that of a minimum, and how long a network lives is an argument that is saved."""

import functools

import pytest
import torch

from core_distill.distill import distill
from core_distill.engine import mean_loss, parameters_of
from core_distill.evaluation import accuracy
from core_distill.matching.implicit import at_minimum, conjugate_gradient
from core_distill.methods import ImplicitDifferentiation
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.training import fit


@pytest.fixture
def make(sampler, new_network):
    return functools.partial(
        ImplicitDifferentiation, real=sampler, new_network=new_network, inner_steps=2, terms=2, batch_size=6
    )


@pytest.fixture
def synthetic(sampler):
    recipe = find_recipe("lorraine", images_per_class=2, data="digits", schedule="cpu")
    return prepare(sampler, recipe.with_values({"width": 4, "depth": 2}), seed=0).synthetic


def run(method, synthetic, episodes):
    """Losses and networks of some episodes, without updating the set."""
    losses, networks = [], []
    for number in episodes:
        losses += [loss.detach() for loss in method.episode(synthetic, derive_generator(0, "episode", number))]
        networks.append(method.network)
    return torch.stack(losses), networks


@pytest.mark.parametrize(("lifetime", "first_of"), [(1, [0, 1, 2, 3, 4]), (2, [0, 0, 2, 2, 4]), (0, [0] * 5)])
def test_a_network_lives_for_so_many_losses(lifetime, first_of, make, synthetic):
    _, networks = run(make(lifetime=lifetime), synthetic, range(5))
    assert [next(at for at, other in enumerate(networks) if other is network) for network in networks] == first_of


def test_a_loss_is_that_of_the_network_trained_so_far(make, synthetic, sampler, new_network):
    """Warm start written out: two trainings in a row, then the judge; the gradient is the implicit one."""
    method = make(lifetime=0, weight_decay=0.01, inverse=conjugate_gradient)
    run(method, synthetic, [0])
    (loss,) = method.episode(synthetic, derive_generator(0, "episode", 1))
    ours = torch.autograd.grad(loss, synthetic.images.pixels)[0]

    settings = {"epochs": 2, "learning_rate": 0.02, "momentum": 0.5, "weight_decay": 0.01}
    first, generator = (derive_generator(0, "episode", number) for number in (0, 1))
    network, own = new_network(first), synthetic.batch()
    fit(network, own, generator=first, **settings)
    fit(network, own, generator=generator, **settings)
    ends = at_minimum(
        network,
        parameters_of(network),
        own,
        inverse=conjugate_gradient,
        terms=2,
        rate=0.02,
        weight_decay=0.01,
    )
    expected = mean_loss(network, ends, sampler.batch(6, generator))
    assert torch.equal(loss, expected)
    assert torch.equal(ours, torch.autograd.grad(expected, synthetic.images.pixels)[0])


@pytest.mark.parametrize("lifetime", [0, 1, 2])
def test_a_saved_network_goes_on_with_the_same_bits(lifetime, make, synthetic):
    whole, _ = run(make(lifetime=lifetime), synthetic, range(4))
    first, second = make(lifetime=lifetime), make(lifetime=lifetime)
    run(first, synthetic, range(3))
    saved = first.state_dict()
    run(first, synthetic, [3])  # what is saved stays as it is
    second.load_state_dict(saved)
    assert second.state_dict()["age"] == saved["age"]
    last, _ = run(second, synthetic, [3])
    assert torch.equal(whole[3:], last)


def test_cold_start_depends_on_the_episode_alone_and_warm_start_on_all_before(make, synthetic):
    for lifetime, same in ((1, True), (0, False)):
        method = make(lifetime=lifetime)
        (one,), (again,) = (run(method, synthetic, [1])[0] for _ in range(2))
        assert torch.equal(one, again) == same


def test_the_set_gets_better(digits):
    recipe = find_recipe("lorraine", images_per_class=1, data="digits", schedule="cpu")
    values = {
        "network": "mlp",
        "steps": 40,
        "lifetime": 1,
        "learning_rate": 0.1,
        "inner_momentum": 0.9,
        "initialise": "noise",
    }
    plan = prepare(digits.train, recipe.with_values(values), seed=0)

    def judge():
        losses = [
            next(plan.method.episode(plan.synthetic, derive_generator(1, number))).detach() for number in range(4)
        ]
        return torch.stack(losses).mean()

    before = judge()
    distill(plan.method, plan.synthetic, plan.optimizer, steps=40, seed=0)
    assert judge() < 0.9 * before


def test_what_warm_start_learns_is_not_all_in_the_images(digits):
    """Vicol et al. (arXiv 2212.14032), table 3: the network that went on reads digits, one trained on what is left does not."""
    recipe = find_recipe("lorraine", images_per_class=1, data="digits", schedule="cpu")
    values = {"network": "mlp", "steps": 40, "inner_steps": 5, "terms": 2, "learning_rate": 0.1, "inner_momentum": 0}
    values |= {"initialise": "noise", "image_learning_rate": 0.15}
    scores = {}
    for name, lifetime in (("warm", 0), ("cold", 1)):
        plan = prepare(digits.train, recipe.with_values(values | {"lifetime": lifetime}), seed=0)
        distill(plan.method, plan.synthetic, plan.optimizer, steps=40, seed=0)
        generator = derive_generator(1)
        network = plan.method.new_network(generator)
        fit(network, plan.synthetic.batch(), epochs=150, learning_rate=0.1, generator=generator)
        along = accuracy(plan.method.network, digits.validation)
        scores[name] = (along, accuracy(network, digits.validation))
    assert scores["warm"][0] > scores["warm"][1] + 0.2
    assert scores["cold"][1] > scores["warm"][1] + 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"inner_steps": 0}, "inner_steps must be at least 1, got 0"), ({"terms": 0}, "terms must be at least 1, got 0")],
)
def test_what_does_not_fit_is_refused(changes, message, make, synthetic):
    with pytest.raises(ValueError, match=message):
        next(make(**changes).episode(synthetic, torch.Generator())).backward()


def test_a_network_that_normalises_over_the_batch_is_refused(make, synthetic):
    network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    with pytest.raises(ValueError, match="normalises over the batch"):
        list(make(new_network=network).episode(synthetic, torch.Generator()))
