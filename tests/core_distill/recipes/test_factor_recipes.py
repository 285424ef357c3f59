"""The recipes of factorised images: published values by budget and data, and what a gradient is cut to."""

import pytest
import torch

from core_distill.methods import Adversarial, DistributionMatching, TrajectoryMatching, UnrolledTraining
from core_distill.networks import MLP, network_factory
from core_distill.partials import built, wrapped
from core_distill.recipes import find_recipe
from core_distill.recipes.linba import clipped_sgd


def values_of(name, images_per_class, data, schedule="paper"):
    return find_recipe(name, images_per_class=images_per_class, data=data, schedule=schedule).values()


@pytest.mark.parametrize(
    ("images_per_class", "expected"),
    [
        (1, {"inner_steps": 50, "max_start": 2, "step_size": 0.01, "step_learning_rate": 5e-8}),
        (2, {"inner_steps": 50, "max_start": 2, "step_size": 0.01, "step_learning_rate": 5e-8}),
        (11, {"inner_steps": 30, "max_start": 20, "step_size": 0.001, "step_learning_rate": 5e-6}),
        (51, {"inner_steps": 30, "max_start": 20, "step_size": 0.01, "step_learning_rate": 5e-6}),
    ],
)
def test_haba_by_bases_a_class(images_per_class, expected):
    values = values_of("haba", images_per_class, "cifar10")
    fixed = {"hallucinators": 5, "diversity": 0.1, "likeness": 0.1, "contrast": 0.1, "contrast_temperature": 0.07}
    fixed |= {"adversary_rate": 0.001, "adversary_momentum": 0.9, "image_learning_rate": 100.0, "momentum": 0.95}
    fixed |= {"steps": 15_000, "expert_epochs": 2, "images": "hallucinated-bases", "near_identity": False}
    for name, value in (expected | fixed).items():
        assert values[name] == value, name
    assert values["batch_size"] == 10 * images_per_class


def test_haba_is_a_method_around_another():
    recipe = find_recipe("haba", images_per_class=2, data="cifar10").with_values({"truncated": True, "diversity": 0.5})
    assert wrapped(recipe.method) is Adversarial
    assert (recipe.uses_step_size, recipe.learned) == (True, ("images", "step size"))
    assert recipe.describe()["functions"] == {"inner": "TrajectoryMatching"}

    class Experts:
        def check_span(self, max_start, span):
            pass

    new_network = network_factory(MLP, (1, 4, 4), 2)
    method = built(recipe.method, real=None, new_network=new_network, augment=recipe.augment, experts=Experts())
    assert isinstance(method.inner, TrajectoryMatching)
    assert (method.inner.truncated, method.diversity, method.inner.inner_steps) == (True, 0.5, 50)


@pytest.mark.parametrize(
    ("data", "images_per_class", "rank", "rate", "augmented"),
    [
        ("cifar10", 1, 2, 1.0, True),
        ("cifar100", 10, 2, 1.0, True),
        ("cifar10", 50, 4, 1000.0, True),
        ("mnist", 1, 2, 1.0, True),
        ("mnist", 10, 8, 1.0, False),
        ("mnist", 50, 8, 1.0, False),
    ],
)
def test_low_rank_by_data_and_budget(data, images_per_class, rank, rate, augmented):
    values = values_of("low-rank", images_per_class, data)
    assert (values["rank"], values["image_learning_rate"], bool(values["augment"])) == (rank, rate, augmented)
    assert (values["steps"], values["batch_size"], values["initialise"]) == (20_000, 256, "noise")
    recipe = find_recipe("low-rank", images_per_class=images_per_class, data=data)
    assert wrapped(recipe.method) is DistributionMatching


@pytest.mark.parametrize("images_per_class", [1, 10])
def test_linba_keeps_its_slots_whatever_the_budget(images_per_class):
    values = values_of("linba", images_per_class, "cifar10")
    assert (values["bases"], values["downscale"], values["xavier"]) == (16 * images_per_class, 2, True)
    assert (values["inner_momentum"], values["step_size"], values["momentum"]) == (0.9, 0.01, 0.5)
    assert (values["image_learning_rate"], values["optimizer"]) == (0.1, "clipped-sgd")
    assert wrapped(find_recipe("linba", images_per_class=1).method) is UnrolledTraining


@pytest.mark.parametrize("name", ["haba", "linba", "low-rank"])
@pytest.mark.parametrize("schedule", ["cpu", "paper"])
def test_sources_say_what_is_tuned_and_what_departs(name, schedule):
    recipe = find_recipe(name, images_per_class=10, data="fashion-mnist", schedule=schedule)
    words = ("CPU schedule", "tried", "untuned") if schedule == "cpu" else ("released", "departs")
    assert words[0] in recipe.source
    assert any(word in recipe.source for word in words[1:])


@pytest.mark.parametrize(("length", "expected"), [(10.0, 2.0), (1.0, 1.0)])
def test_a_long_gradient_is_shortened_over_all_that_is_learned(length, expected):
    first, second = (torch.zeros(2, requires_grad=True) for _ in range(2))
    optimizer = clipped_sgd([{"params": [first], "lr": 1.0}, {"params": [second], "lr": 1.0}], 0.0)
    first.grad, second.grad = torch.tensor([0.6 * length, 0]), torch.tensor([0, 0.8 * length])
    optimizer.step()
    assert torch.cat([first, second]).norm().item() == pytest.approx(expected, rel=1e-4)
    assert (first[0] / second[1]).item() == pytest.approx(0.75)
