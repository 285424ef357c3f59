"""DD's and SLDD's values: published ones, what the CPU schedule changes, and step sizes that follow the number of steps."""

import pytest

from core_distill.methods import UnrolledTraining
from core_distill.recipes import find_recipe, initial_set

NAMES = ["dd", "sldd"]


@pytest.mark.parametrize("name", NAMES)
def test_published_values(name):
    recipe = find_recipe(name, images_per_class=10)
    assert recipe.method.func is UnrolledTraining
    expected = {
        "augment": "",
        "batch_size": 1024,
        "image_learning_rate": 0.01,
        "initialise": "noise",
        "inner_epochs": 3,
        "inner_momentum": 0.0,
        "inner_steps": 10,
        "labels": {"dd": "hard", "sldd": "soft"}[name],
        "learn_step_size": True,
        "momentum": 0.5,
        "network_seed": 0,
        "optimizer": "adam",
        "step_size": 0.02,
        "step_sizes": "each",
    }
    assert {key: recipe.values()[key] for key in expected} == expected
    assert recipe.learned == ("images", *(("labels",) if name == "sldd" else ()), "step size")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("images_per_class", "inner_steps"), [(1, 1), (3, 3), (10, 10), (50, 10)])
def test_a_step_never_goes_without_images(name, images_per_class, inner_steps):
    assert find_recipe(name, images_per_class=images_per_class).values()["inner_steps"] == inner_steps


@pytest.mark.parametrize(
    "changes", [{}, {"inner_steps": 2}, {"inner_epochs": 5}, {"inner_steps": 1, "inner_epochs": 1}]
)
def test_there_are_as_many_step_sizes_as_steps(changes, sampler):
    recipe = find_recipe("dd", images_per_class=4).with_values(changes)
    steps = recipe.values()["inner_steps"] * recipe.values()["inner_epochs"]
    assert initial_set(sampler, recipe, seed=0).step_size.shape == (steps,)
    assert initial_set(sampler, recipe.with_values({"step_sizes": "shared"}), seed=0).step_size.shape == ()


@pytest.mark.parametrize("name", NAMES)
def test_the_cpu_schedule_says_what_it_changes(name):
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    changed = {key: value for key, value in cpu.values().items() if value != paper.values()[key]}
    assert set(changed) <= {
        "batch_size",
        "image_learning_rate",
        "initialise",
        "inner_epochs",
        "inner_momentum",
        "inner_steps",
        "label_learning_rate",
        "step_learning_rate",
        "step_size",
        "steps",
    }
    assert "CPU schedule" in cpu.source
    assert all(f"{value}" in cpu.source for value in changed.values())
    assert ("label_learning_rate" in changed) == (name == "sldd")


@pytest.mark.parametrize("name", NAMES)
def test_the_values_say_everything(name):
    """As a federated client reads them: by name, then every value."""
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    assert paper.with_values(cpu.values()).values() == cpu.values()
