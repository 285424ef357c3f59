"""The published values, as the papers' released code has them, and the schedule sized for a CPU."""

import pytest

from core_distill.augment import dsa_for
from core_distill.methods import DistributionMatching, GradientMatching
from core_distill.networks import network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import RECIPES, find_recipe

ALL_SIX = "color,crop,cutout,flip,scale,rotate"
NO_FLIP = "color,crop,cutout,scale,rotate"


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize(
    ("images_per_class", "outer", "inner"),
    [(1, 1, 1), (10, 10, 50), (20, 20, 25), (30, 30, 20), (40, 40, 15), (50, 50, 10)],
)
def test_loops_of_dc_and_dsa_by_budget(name, images_per_class, outer, inner):
    recipe = find_recipe(name, images_per_class=images_per_class)
    assert recipe.method.func is GradientMatching
    assert (recipe.values()["outer_steps"], recipe.values()["inner_epochs"]) == (outer, inner)
    assert recipe.steps == 1_000 * outer


@pytest.mark.parametrize(("images_per_class", "outer"), [(2, 1), (9, 1), (11, 10), (49, 40), (100, 50)])
def test_other_budgets_take_the_next_smaller_loops(images_per_class, outer):
    assert find_recipe("dc", images_per_class=images_per_class).values()["outer_steps"] == outer


@pytest.mark.parametrize(("name", "initialise"), [("dc", "noise"), ("dsa", "real")])
def test_values_of_dc_and_dsa(name, initialise):
    values = find_recipe(name, images_per_class=10).values()
    expected = {
        "batch_size": 256,
        "image_learning_rate": 0.1,
        "initialise": initialise,
        "labels": "hard",
        "learning_rate": 0.01,
        "momentum": 0.5,
        "network": "convnet",
        "norm": "instance",
        "width": 128,
    }
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize("name", ["dc", "dm", "dsa"])
@pytest.mark.parametrize(("shape", "parameters"), [((1, 28, 28), 317_706), ((3, 32, 32), 320_010)])
def test_the_network_is_the_papers_convnet_of_depth_3(name, shape, parameters):
    recipe = find_recipe(name, images_per_class=1)
    network = network_factory(recipe.network, shape, 10)(derive_generator(0))
    assert sum(value.numel() for value in network.parameters()) == parameters


def test_values_of_dm():
    recipe = find_recipe("dm", images_per_class=10)
    assert recipe.method.func is DistributionMatching
    expected = {
        "batch_size": 256,
        "image_learning_rate": 1.0,
        "initialise": "real",
        "momentum": 0.5,
        "steps": 20_000,
        "width": 128,
    }
    assert {key: recipe.values()[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("data", "images_per_class", "rate"),
    [("cifar10", 50, 1.0), ("cifar10", 100, 10.0), ("cifar10", 1250, 10.0), ("mnist", 100, 1.0)],
)
def test_dm_takes_larger_steps_for_many_images_of_cifar10(data, images_per_class, rate):
    assert find_recipe("dm", images_per_class=images_per_class, data=data).image_learning_rate == rate


@pytest.mark.parametrize(
    ("data", "operations"),
    [
        ("fashion-mnist", ALL_SIX),
        ("cifar10", ALL_SIX),
        ("cifar100", ALL_SIX),
        ("my-folder", ALL_SIX),
        ("", ALL_SIX),
        ("digits", NO_FLIP),
        ("mnist", NO_FLIP),
        ("svhn", NO_FLIP),
    ],
)
def test_digits_are_not_mirrored(data, operations):
    assert ",".join(dsa_for(data).operations) == operations
    for name in ("dm", "dsa"):
        assert find_recipe(name, images_per_class=1, data=data).values()["augment"] == operations
    assert find_recipe("dc", images_per_class=1, data=data).values()["augment"] == ""


@pytest.mark.parametrize(
    ("name", "beside"), [("dc", set()), ("dm", set()), ("dsa", {"decay", "initialise", "learning_rate"})]
)
def test_the_cpu_schedule_changes_sizes_and_says_so(name, beside):
    paper = find_recipe(name, images_per_class=10, data="mnist")
    cpu = find_recipe(name, images_per_class=10, data="mnist", schedule="cpu")
    changed = {key for key, value in cpu.values().items() if value != paper.values()[key]}
    assert beside <= changed
    assert changed - beside <= {"steps", "batch_size", "inner_epochs", "image_learning_rate"}
    assert cpu.steps < paper.steps
    assert "CPU schedule" in cpu.source
    for value in (cpu.steps, cpu.values()["batch_size"], cpu.image_learning_rate):
        assert f"{value:,}" in cpu.source


@pytest.mark.parametrize("name", RECIPES)
def test_a_cpu_schedule_says_that_values_were_tried_or_that_it_is_untuned(name):
    """By one of two words, which tables of accuracies look for."""
    source = find_recipe(name, images_per_class=10, data="fashion-mnist", schedule="cpu").source
    assert "validation" in source or "untuned" in source


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("schedule", ["Paper", "published", None])
def test_there_are_two_schedules(name, schedule):
    with pytest.raises(ValueError, match=f"schedule must be one of paper, cpu, got {schedule!r}"):
        RECIPES[name](images_per_class=10, schedule=schedule)
