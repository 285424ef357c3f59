"""CAFE: how long loops last, what trains the network, and that the loss is the one of `matching`."""

import itertools

import pytest
import torch

from core_distill.augment import Dsa, all_operations
from core_distill.data.representatives import RepresentativeSampler
from core_distill.distill import distill
from core_distill.matching.layer_features import feature_alignment, mean_layers
from core_distill.methods import FeatureAlignment
from core_distill.methods import feature_alignment as module
from core_distill.methods.query_accuracy import query_accuracy
from core_distill.randomness import derive_generator
from core_distill.recipes import condense, find_recipe, prepare
from core_distill.training import fit


def toy(**changes):
    recipe = find_recipe("cafe", images_per_class=2, data="digits", schedule="cpu")
    return recipe.with_values(
        {"steps": 6, "batch_size": 6, "width": 4, "depth": 2, "query_size": 3, "window": 2, "max_epochs": 3, **changes}
    )


@pytest.fixture
def scripted(monkeypatch):
    """`scripted(accuracies)`: what is measured, in order; calls beyond repeat the last. Returns networks' weights then."""

    def script(accuracies):
        left, seen = list(accuracies), []

        def measured(network, real, size, generator):
            seen.append(torch.cat([value.detach().flatten() for value in network.parameters()]))
            return left.pop(0) if len(left) > 1 else left[0]

        monkeypatch.setattr(module, "query_accuracy", measured)
        return seen

    return script


def episode(sampler, **changes):
    plan = prepare(sampler, toy(**changes), seed=0)
    return plan, plan.method.episode(plan.synthetic, derive_generator(1))


def test_a_network_is_given_up_once_its_accuracies_stay_together(sampler, scripted):
    """At its losses: 0.1, 0.5, 0.52. Between: after two epochs each, since these are far apart."""
    seen = scripted([0.1, 0.0, 1.0, 0.5, 0.0, 1.0, 0.52])
    _, losses = episode(sampler, outer_spread=0.05, max_losses=9)
    assert len(list(losses)) == 3
    assert len(seen) == 7


def test_a_network_trains_until_its_accuracies_have_moved(sampler, scripted):
    """Three of a window: 0.2, 0.2, 0.2 is still, 0.2, 0.2, 0.4 has moved."""
    seen = scripted([0.9, 0.2, 0.2, 0.2, 0.4, 0.9])
    _, losses = episode(sampler, window=3, inner_spread=0.1, max_epochs=9)
    next(losses)
    next(losses)
    assert len(seen) == 5
    assert len({tuple(weights.tolist()) for weights in seen}) == 5, "every epoch moves the network"


@pytest.mark.parametrize("max_losses", [1, 3])
@pytest.mark.parametrize("max_epochs", [1, 2, 4])
def test_loops_have_bounds(max_losses, max_epochs, sampler, scripted):
    """Nothing ever settles outside, and nothing ever moves inside; what could end no loop is not measured."""
    seen = scripted([0.5])
    values = {"max_losses": max_losses, "max_epochs": max_epochs, "outer_spread": 0.0, "inner_spread": 0.5}
    _, losses = episode(sampler, **values)
    assert len(list(losses)) == max_losses
    outside, inside = (most - 1 if most > 2 else 0 for most in (max_losses, max_epochs))
    assert len(seen) == outside + (max_losses - 1) * inside


def test_a_network_trains_on_the_updated_images(sampler, scripted):
    changed = []
    for pixels in (0.0, 1.0):
        seen = scripted([0.1, 0.5, 0.9])
        plan, losses = episode(sampler, max_epochs=1)
        next(losses)
        with torch.no_grad():
            plan.synthetic.images.pixels.fill_(pixels)
        next(losses)
        next(losses)
        changed.append(seen)
    assert torch.equal(changed[0][0], changed[1][0])
    assert not torch.equal(changed[0][1], changed[1][1])


def test_the_first_loss_is_feature_alignment_of_augmented_batches(sampler):
    plan = prepare(sampler, toy(augment="scale,rotate"), seed=0)
    found = next(plan.method.episode(plan.synthetic, derive_generator(3)))
    generator = derive_generator(3)
    network = plan.method.new_network(generator)
    real = sampler.by_class(6, generator)
    seen = plan.method.augment(real, plan.synthetic.by_class(), generator)
    weights = {"layer_weights": (0.1, 0.1, 1.0, 2.0), "discrimination_weight": 2.56}
    torch.testing.assert_close(found, feature_alignment(network, *seen, **weights))


def doubled(network, batch):
    return tuple(2 * layer for layer in mean_layers(network, batch))


def test_every_value_reaches_the_episode(sampler, new_network, synthetic):
    """Three losses with three epochs between them, since no spread ends anything; the last of either loop is not measured."""
    augment = Dsa()
    values = {"signal": doubled, "layer_weights": (0.5, 3.0), "discrimination_weight": 7.0}
    sizes = {"batch_size": 6, "query_size": 3, "window": 2, "max_losses": 3, "max_epochs": 3, "learning_rate": 0.2}
    spreads = {"outer_spread": 0.0, "inner_spread": 1.0}
    method = FeatureAlignment(
        real=sampler, queries=sampler, new_network=new_network, augment=augment, **sizes, **spreads, **values
    )
    losses = list(method.episode(synthetic, derive_generator(3)))
    assert len(losses) == 3
    generator = derive_generator(3)
    network = new_network(generator)
    for found in losses:
        seen = augment(sampler.by_class(6, generator), synthetic.by_class(), generator)
        assert torch.equal(found, feature_alignment(network, *seen, **values))
        query_accuracy(network, sampler, 3, generator)
        for epoch in (1, 2, 3):
            settings = {"epochs": 1, "learning_rate": 0.2, "augment": augment.per_image}
            fit(network, synthetic.batch(), generator=generator, **settings)
            if epoch < 3:
                query_accuracy(network, sampler, 3, generator)


def test_representatives_serve_losses_alone_and_queries_are_drawn_at_random(sampler, monkeypatch):
    """One choice for all losses until `refresh`; sizes of losses and queries differ, and queries see other images."""
    choices, losses, queries = [], [], []
    choose, align, by_class = RepresentativeSampler._choose, module.feature_alignment, sampler.by_class

    def chosen(self, size, generator):
        choices.append(size)
        return choose(self, size, generator)

    def aligned(network, real, seen, **values):
        losses.append(real.images)
        return align(network, real, seen, **values)

    def drawn(size, generator):
        batch = by_class(size, generator)
        queries.append(batch.images)
        return batch

    monkeypatch.setattr(RepresentativeSampler, "_choose", chosen)
    monkeypatch.setattr(module, "feature_alignment", aligned)
    plan, steps = episode(
        sampler,
        batches="representative",
        refresh=4,
        candidates=0,
        max_losses=6,
        outer_spread=0.0,
        max_epochs=3,
        inner_spread=1.0,
    )
    monkeypatch.setattr(sampler, "by_class", drawn)
    assert len(list(steps)) == 6
    assert choices == [6, 6]
    assert [torch.equal(images, losses[0]) for images in losses] == [True] * 4 + [False] * 2
    assert torch.equal(losses[4], losses[5])
    assert len(queries) == 5 + 5 * 2
    assert {images.shape[1] for images in queries} == {3}
    assert not any(torch.equal(one, next_one) for one, next_one in itertools.pairwise(queries))
    assert isinstance(plan.method.real, RepresentativeSampler)


def test_permuting_the_classes_changes_no_loss(sampler):
    """The same images under other class numbers."""
    plan = prepare(sampler, toy(), seed=0)
    order = torch.tensor([1, 2, 0])

    class Permuted:
        num_classes, classes = 3, sampler.classes

        def by_class(self, size, generator):
            batch = sampler.by_class(size, generator)
            return batch._replace(images=batch.images[order])

    expected = next(plan.method.episode(plan.synthetic, derive_generator(3)))
    with torch.no_grad():
        pixels = plan.synthetic.images.pixels
        pixels.copy_(pixels.unflatten(0, (3, -1))[order].flatten(0, 1))
    object.__setattr__(plan.method, "real", Permuted())
    torch.testing.assert_close(next(plan.method.episode(plan.synthetic, derive_generator(3))), expected)


def test_the_loss_goes_down(digits):
    """On one fresh network each; the last networks' first losses against the first's."""
    recipe = toy(steps=30, batch_size=32, width=8, query_size=10, max_losses=3, initialise="noise", decay="constant")
    losses = []
    condense(digits.train, recipe, seed=0, observers=[lambda progress: losses.append(progress.loss.item())])
    assert sum(losses[-9:]) < 0.5 * sum(losses[:9])


def test_it_is_not_private_and_learns_images_alone(sampler, new_network):
    method = FeatureAlignment(real=sampler, queries=sampler, new_network=new_network)
    assert (method.private, method.class_wise, method.uses_step_size, method.learns_labels) == (False,) * 4
    assert method.signal is mean_layers
    with pytest.raises(ValueError, match="gives no gradient to labels"):
        toy(labels="soft")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 1}, "window must be at least 2"),
        ({"max_losses": 0}, "max_losses must be at least 1, got 0"),
        ({"max_epochs": 0}, "max_epochs must be at least 1, got 0"),
    ],
)
def test_bounds_that_end_at_once_are_refused(changes, message, sampler, new_network):
    with pytest.raises(ValueError, match=message):
        FeatureAlignment(real=sampler, queries=sampler, new_network=new_network, **changes)


def test_a_part_of_the_classes_and_any_size_of_images_are_enough(digits):
    part = digits.train.subset(torch.cat([digits.train.of_class(number) for number in (1, 4, 7)]))
    plan = prepare(part, toy(steps=2, augment=",".join(all_operations.operations)), seed=0)
    distill(plan.method, plan.synthetic, plan.optimizer, steps=2, seed=0)
    assert plan.synthetic.classes.tolist() == [1, 4, 7]
