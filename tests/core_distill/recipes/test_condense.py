"""From a recipe to a run: what is learned at which rate, where it starts, and that `condense` is these three lines."""

import dataclasses
import functools

import pytest
import torch

from core_distill.data import load_data
from core_distill.distill import distill
from core_distill.networks import ConvNet
from core_distill.recipes import condense, dm, initial_set, mtt, new_optimizer, prepare, sldd


def test_condense_is_prepare_and_distill(sampler, tiny_recipe):
    plan = prepare(sampler, tiny_recipe, seed=5)
    distill(plan.method, plan.synthetic, plan.optimizer, steps=tiny_recipe.steps, seed=5, scheduler=plan.scheduler)
    found = condense(sampler, tiny_recipe, seed=5)
    assert torch.equal(found.images.pixels, plan.synthetic.images.pixels)


def test_of_splits_the_train_part_is_asked_for(tiny_recipe):
    with pytest.raises(TypeError, match=r"such as load_data\(\.\.\.\)\.train; got DataSplits"):
        condense(load_data("digits"), tiny_recipe, seed=0)


def test_observers_see_every_step(sampler, tiny_recipe):
    seen = []
    condense(sampler, tiny_recipe, seed=0, observers=[lambda progress: seen.append(progress.step)])
    assert seen == [1, 2, 3, 4]


def test_the_initial_set_describes_the_data(sampler, tiny_recipe):
    part = sampler.subset(torch.cat([sampler.of_class(0), sampler.of_class(2)]))
    synthetic = initial_set(part, tiny_recipe, seed=0)
    assert synthetic.classes.tolist() == [0, 2]
    assert synthetic.num_classes == 3
    assert synthetic.batch().labels.tolist() == [0, 0, 2, 2]
    assert (synthetic.mean.tolist(), synthetic.std.tolist()) == ([0.5], [0.25])


def test_soft_labels_start_at_their_class(sampler):
    recipe = sldd(images_per_class=2, data="digits", schedule="cpu")
    labels = initial_set(sampler, recipe, seed=0).batch().labels
    assert labels.argmax(1).tolist() == [0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(labels.max(1).values, torch.full((6,), 0.9))


def test_each_kind_of_thing_is_learned_at_its_own_rate(sampler):
    rates = {"image_learning_rate": 2, "label_learning_rate": 3, "step_learning_rate": 4, "momentum": 0.25}
    recipe = sldd(images_per_class=2).with_values(rates)
    synthetic = initial_set(sampler, recipe, seed=0)
    groups = new_optimizer(synthetic, recipe).param_groups
    found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    expected = {"images.pixels": 2.0, "labels.logits": 3.0, "step_size": 4.0}
    assert found == {id(parameter): expected[name] for name, parameter in synthetic.named_parameters()}
    assert {group["betas"] for group in groups} == {(0.25, 0.999)}


@pytest.mark.parametrize("learned", [False, True])
def test_the_step_size_starts_where_the_recipe_says(learned, sampler):
    recipe = mtt(images_per_class=2).with_values({"step_size": 0.5, "learn_step_size": learned})
    assert initial_set(sampler, recipe, seed=0).step_size.tolist() == 0.5
    several = initial_set(sampler, recipe.with_values({"step_sizes": "each", "inner_steps": 3}), seed=0)
    assert several.step_size.tolist() == [0.5] * 3


def test_a_step_size_each_needs_steps(sampler):
    recipe = dataclasses.replace(dm(images_per_class=2), method=TrainsBySteps).with_values({"step_sizes": "each"})
    with pytest.raises(ValueError, match="step_sizes=each needs a method with inner_steps"):
        initial_set(sampler, recipe, seed=0)


class TrainsBySteps:
    """A method that does not say whether it trains by the step size of the set, and has no inner_steps."""


def test_hard_labels_need_no_rate(sampler, tiny_recipe):
    assert len(new_optimizer(initial_set(sampler, tiny_recipe, seed=0), tiny_recipe).param_groups) == 1


def test_the_method_gets_the_recipes_network_and_augmentation(sampler, tiny_recipe):
    plan = prepare(sampler, tiny_recipe, seed=0)
    network = plan.method.new_network(torch.Generator().manual_seed(0))
    assert isinstance(network, ConvNet)
    assert network.blocks[0].out_channels == 4
    assert plan.method.augment == tiny_recipe.augment
    assert plan.method.batch_size == 4


def test_an_empty_batch_is_refused(sampler, tiny_recipe):
    with pytest.raises(ValueError, match="at least 1 example, got size 0"):
        condense(sampler, tiny_recipe.with_values({"batch_size": 0}), seed=0)


def test_a_network_that_does_not_fit_the_images_is_refused(sampler, tiny_recipe):
    with pytest.raises(ValueError, match="depth 5 does not fit images of 8x8: use a depth from 1 to 3"):
        condense(sampler, tiny_recipe.with_values({"depth": 5}), seed=0)


def test_a_class_with_fewer_images_than_asked_for_still_fills_its_row(sampler, tiny_recipe):
    few = sampler.subset(torch.tensor([0, 12, 13, 24, 25, 26]))
    synthetic = condense(few, tiny_recipe.with_values({"images_per_class": 4}), seed=0)
    assert synthetic.by_class().images.shape == (3, 4, 1, 8, 8)
    assert functools.reduce(torch.logical_and, [torch.isfinite(p).all() for p in synthetic.parameters()])
