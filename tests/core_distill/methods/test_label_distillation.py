"""LD: gradients of labels against the graph of one step or of a ridge head, images that stay, a network that is trained along."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from core_distill.data import ClassSampler
from core_distill.distill import distill
from core_distill.methods import LabelDistillation, RidgeLabelDistillation
from core_distill.networks import MLP, ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.synthetic import HardLabels, Pixels, SoftLabels, SyntheticSet

METHODS = [LabelDistillation, RidgeLabelDistillation]


@pytest.fixture
def real():
    """Three classes of 8 images, in float64."""
    images = torch.randn(24, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return ClassSampler(images, torch.arange(24) % 3, num_classes=3, mean=[0.0], std=[1.0])


@pytest.fixture
def double_network(new_network):
    return lambda generator: new_network(generator).double()


def a_set(labels=SoftLabels.starting_at):
    images = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    return SyntheticSet(
        Pixels(images),
        labels(torch.arange(3).repeat_interleave(4), 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=4,
        mean=[0.0],
        std=[1.0],
        step_size=0.1,
    ).double()


def labels_gradient(loss, synthetic):
    return torch.autograd.grad(loss, synthetic.labels.logits)[0]


def test_second_order_is_the_graph_of_one_step(real, double_network):
    method = LabelDistillation(real=real, new_network=double_network, batch_size=9, base_batch_size=5)
    synthetic = a_set()
    loss = next(method.episode(synthetic, derive_generator(5)))

    generator = derive_generator(5)
    network = double_network(generator)
    parameters = {name: value.detach().requires_grad_() for name, value in network.named_parameters()}
    base = synthetic.batch(5, generator)
    inner = F.cross_entropy(functional_call(network, parameters, base.images), base.labels)
    gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
    moved = {name: value - 0.1 * g for (name, value), g in zip(parameters.items(), gradients, strict=True)}
    batch = real.batch(9, generator)
    expected = F.cross_entropy(functional_call(network, moved, batch.images), batch.labels)
    torch.testing.assert_close(loss, expected)
    found, wanted = labels_gradient(loss, synthetic), labels_gradient(expected, synthetic)
    assert wanted.abs().max() > 1e-6
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_a_network_is_judged_after_the_inner_step(real):
    """A long step on black images of class 1 moves the biases alone: that class is named whatever is seen then."""
    make = network_factory(functools.partial(MLP, hidden=()), (1, 8, 8), 3)
    synthetic = a_set(lambda targets, num_classes: HardLabels(torch.ones_like(targets), num_classes))
    synthetic.images.pixels.detach().zero_()
    synthetic.step_size.fill_(1000.0)
    ones = real.subset(real.of_class(1))
    method = LabelDistillation(real=ones, new_network=lambda generator: make(generator).double())
    list(method.episode(synthetic, derive_generator(0)))
    assert method.state_dict()["arriving"] == [0.0]


def ridge_weights(features, labels):
    """By the inverse of the matrix among dimensions, which the method never forms."""
    return torch.linalg.inv(features.mT @ features + torch.eye(features.shape[1]).double()) @ features.mT @ labels


def with_ones(features):
    return torch.cat((features, torch.ones(len(features), 1).double()), 1)


def test_ridge_follows_the_formulas_over_several_steps(real, double_network):
    """Heads, network and calibration as plain code trains them, three steps long; it trains on labels that have moved."""
    method = RidgeLabelDistillation(
        real=real, new_network=double_network, batch_size=9, base_batch_size=5, head_rate=0.3
    )
    synthetic = a_set()
    generators = [derive_generator(6, step) for step in range(3)]
    network = double_network(derive_generator(6, 0))
    scale = nn.Parameter(torch.ones(()).double())
    trained = [value for name, value in network.named_parameters() if not name.startswith("classifier")]
    adam, adam_of_scale = torch.optim.Adam(trained, lr=0.001), torch.optim.Adam([scale], lr=0.01)
    head = torch.zeros(network.classifier.in_features + 1, 3).double()
    for step, generator in enumerate(generators):
        episode = method.episode(synthetic, generator)
        loss = next(episode)
        base = synthetic.batch(5, derive_generator(generator.initial_seed(), "base"))
        generator = derive_generator(6, step)
        if step == 0:
            double_network(generator)
        images = base.images.detach()
        batch = real.batch(9, generator)
        local = ridge_weights(with_ones(network.features(images)).detach(), base.labels)
        head = 0.7 * head.detach() + 0.3 * local
        expected = F.cross_entropy(
            with_ones(network.features(batch.images)).detach() @ (scale.detach() * head), batch.labels
        )
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
        found, wanted = labels_gradient(loss, synthetic), labels_gradient(expected, synthetic)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-7)
        with torch.no_grad():
            synthetic.labels.logits.add_(torch.linspace(-1, 1, 36).view(12, 3))
        assert not list(episode)
        labels = synthetic.batch(5, derive_generator(derive_generator(6, step).initial_seed(), "base")).labels.detach()
        own = F.cross_entropy(with_ones(network.features(images)) @ (scale * head.detach()), labels)
        for optimizer in (adam, adam_of_scale):
            optimizer.zero_grad()
        own.backward()
        for optimizer in (adam, adam_of_scale):
            optimizer.step()
        network.zero_grad()


@pytest.mark.parametrize("kind", METHODS)
def test_images_feel_nothing_and_the_network_is_trained(kind, real, double_network):
    made = []

    def recorded(generator):
        made.append(double_network(generator))
        return made[-1]

    method = kind(real=real, new_network=recorded, batch_size=9, base_batch_size=5)
    synthetic = a_set()
    (loss,) = method.episode(synthetic, derive_generator(0))
    assert torch.autograd.grad(loss, synthetic.images.pixels, allow_unused=True) == (None,)
    first = made[0]
    fresh = double_network(derive_generator(0))
    moved = [not torch.equal(a, b) for a, b in zip(first.parameters(), fresh.parameters(), strict=True)]
    assert all(moved)
    list(method.episode(synthetic, derive_generator(1)))
    assert first is made[0]
    assert all(value.grad is None for network in made for value in network.parameters())


@pytest.mark.parametrize("kind", METHODS)
def test_hard_labels_have_nothing_to_learn(kind, real, double_network):
    method = kind(real=real, new_network=double_network, batch_size=9)
    (loss,) = method.episode(a_set(HardLabels), derive_generator(0))
    assert not loss.requires_grad


@pytest.mark.parametrize("name", ["ld", "ld-ridge"])
def test_recipes_keep_the_images_and_learn_labels(name, sampler):
    recipe = find_recipe(name, images_per_class=3, data="digits", schedule="cpu")
    recipe = recipe.with_values({"steps": 4, "batch_size": 12, "width": 4, "depth": 2})
    assert recipe.learned == ("labels",)
    with pytest.raises(ValueError, match="its labels must be learned"):
        recipe.with_values({"labels": "hard"})
    plan = prepare(sampler, recipe, seed=0)
    before = {key: value.clone() for key, value in plan.synthetic.state_dict().items()}
    distill(plan.method, plan.synthetic, plan.optimizer, steps=4, seed=0)
    after = plan.synthetic.state_dict()
    assert [key for key in after if not torch.equal(after[key], before[key])] == ["labels.logits"]


@pytest.mark.parametrize("name", ["ld", "ld-ridge"])
def test_labels_get_better(name, digits):
    """From near uniform, learned labels come to name the class of their image."""
    values = {"steps": 60, "batch_size": 128, "width": 8, "label_learning_rate": 0.1, "confidence": 0.11}
    recipe = find_recipe(name, images_per_class=3, data="digits", schedule="cpu").with_values(values)
    plan = prepare(digits.train, recipe, seed=0)
    own = plan.synthetic.classes.repeat_interleave(3)

    def share():
        return plan.synthetic.labels(torch.arange(30))[torch.arange(30), own].mean()

    before = share()
    distill(plan.method, plan.synthetic, plan.optimizer, steps=60, seed=0)
    assert share() > 1.5 * before


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (LabelDistillation, {"base_batch_size": 0}, "base_batch_size must be at least 1, got 0"),
        (LabelDistillation, {"patience": 0}, "patience must be at least 1, got 0"),
        (RidgeLabelDistillation, {"head_rate": 0.0}, r"head_rate must lie in \(0, 1\], got 0.0"),
    ],
)
def test_bad_values(kind, changes, message, real, double_network):
    with pytest.raises(ValueError, match=message):
        kind(real=real, new_network=double_network, **changes)


@pytest.mark.parametrize("kind", METHODS)
def test_networks_that_normalise_over_the_batch_are_refused(kind, real):
    make = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    with pytest.raises(ValueError, match="normalises over the batch"):
        list(kind(real=real, new_network=make).episode(a_set(), derive_generator(0)))


def test_a_network_without_a_last_layer_to_replace_is_refused(real):
    method = RidgeLabelDistillation(
        real=real, new_network=lambda generator: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    )
    with pytest.raises(ValueError, match="called classifier, which Sequential has not"):
        list(method.episode(a_set(), derive_generator(0)))
