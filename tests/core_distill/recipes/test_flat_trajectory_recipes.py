"""FTD's and DATM's recipes: published values where they are, what the CPU schedule changes, and whole runs."""

import pytest
import torch

from core_distill.methods import DifficultyAlignment, TrajectoryMatching
from core_distill.recipes import condense, expert_folder_name, find_recipe, prepare, train_experts_for
from core_distill.training.experts import ExpertError

NAMES = ["ftd", "datm"]
TOY = {"steps": 3, "width": 4, "depth": 2, "num_experts": 2, "training_epochs": 3, "inner_steps": 2, "max_start": 2}


def toy(name):
    recipe = find_recipe(name, images_per_class=2, data="digits", schedule="cpu").with_values(
        TOY | {"growth_steps": 0} if name == "datm" else TOY
    )
    return recipe.with_values({"loss_limit": 100.0}) if name == "datm" else recipe


@pytest.mark.parametrize(
    ("data", "images_per_class", "values"),
    [
        ("cifar10", 1, (50, 2, 2, 100.0, 1e-7, 0.01, 0.3, 0.9999, 0)),
        ("cifar10", 10, (30, 2, 20, 100.0, 1e-5, 0.001, 0.3, 0.9995, 0)),
        ("cifar10", 50, (30, 2, 40, 1000.0, 1e-5, 0.01, 1.0, 0.999, 0)),
        ("cifar100", 1, (40, 3, 20, 1000.0, 1e-5, 0.01, 1.0, 0.9995, 0)),
        ("cifar100", 20, (20, 2, 40, 1000.0, 1e-5, 0.01, 1.0, 0.9995, 0)),
        ("cifar100", 50, (80, 2, 40, 1000.0, 1e-5, 0.01, 1.0, 0.999, 1000)),
        ("fashion-mnist", 10, (30, 2, 20, 100.0, 1e-5, 0.001, 0.3, 0.9995, 0)),
    ],
)
def test_published_values_of_ftd(data, images_per_class, values):
    recipe = find_recipe("ftd", images_per_class=images_per_class, data=data)
    names = ["inner_steps", "expert_epochs", "max_start", "image_learning_rate", "step_learning_rate", "step_size"]
    names += ["training_gap_weight", "average", "batch_size"]
    found = recipe.values()
    assert tuple(found[name] for name in names) == values
    assert (recipe.steps, found["num_experts"], found["training_epochs"], found["training_radius"]) == (
        5000,
        100,
        50,
        0.01,
    )
    assert recipe.learned == ("images", "step size")
    assert ("nothing is published for this data" in recipe.source) is (data == "fashion-mnist")


@pytest.mark.parametrize(
    ("data", "images_per_class", "values"),
    [
        ("cifar10", 1, (0, 4, 0, 100.0, 25.0, 10, 80, 2, 1e-7, 1.1, "recognised")),
        ("cifar10", 10, (0, 20, 1000, 100.0, 10.0, 100, 80, 2, 1e-5, 1.0, "recognised")),
        ("cifar10", 50, (0, 40, 2000, 1000.0, 10.0, 500, 80, 2, 1e-5, 1.0, "recognised")),
        ("cifar10", 500, (40, 60, 0, 50.0, 50.0, 1000, 40, 2, 1e-5, 1.0, "recognised")),
        ("cifar10", 1000, (40, 60, 0, 50.0, 50.0, 1000, 100, 2, 1e-5, 1.0, "recognised")),
        ("cifar100", 1, (0, 20, 1000, 1000.0, 50.0, 1000, 40, 3, 1e-5, 1.0, "recognised")),
        ("cifar100", 10, (0, 50, 2000, 1000.0, 50.0, 1000, 80, 2, 1e-5, 1.0, "recognised")),
        ("cifar100", 50, (20, 70, 0, 1000.0, 50.0, 1000, 80, 2, 1e-5, 1.0, "real")),
        ("cifar100", 100, (30, 70, 0, 50.0, 50.0, 1000, 80, 2, 1e-5, 1.0, "recognised")),
        ("mnist", 10, (0, 20, 1000, 100.0, 10.0, 100, 80, 2, 1e-5, 1.0, "recognised")),
    ],
)
def test_published_values_of_datm(data, images_per_class, values):
    """The label rate is the published one times 5, at momentum 0.5 for 0.9."""
    recipe = find_recipe("datm", images_per_class=images_per_class, data=data)
    names = ["min_start", "max_start", "growth_steps", "image_learning_rate", "label_learning_rate", "batch_size"]
    names += ["inner_steps", "expert_epochs", "step_learning_rate", "loss_limit", "initialise"]
    found = recipe.values()
    assert tuple(found[name] for name in names) == pytest.approx(values)
    assert (recipe.steps, found["training_epochs"], found["training_gap_weight"]) == (10_000, 100, 0.3)
    assert (found["labels"], found["step_size"], found["momentum"], found["average"]) == (
        "soft-teacher",
        0.01,
        0.5,
        0.0,
    )
    assert recipe.learned == ("images", "labels", "step size")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", ["paper", "cpu"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100", "mnist"])
@pytest.mark.parametrize("images_per_class", [1, 10, 50, 1000])
def test_stretches_lie_within_the_experts_that_the_recipe_trains(name, schedule, data, images_per_class):
    values = find_recipe(name, images_per_class=images_per_class, data=data, schedule=schedule).values()
    assert values["max_start"] - 1 + values["expert_epochs"] <= values["training_epochs"]
    assert values.get("min_start", 0) < values["max_start"]
    assert values["training_radius"] == 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_cpu_schedule_takes_as_many_expert_steps_as_that_of_mtt_and_says_so(name):
    ours, mtt = (find_recipe(each, images_per_class=10, schedule="cpu") for each in (name, "mtt"))
    per_epoch = [recipe.values()["training_images"] / recipe.values()["training_batch_size"] for recipe in (ours, mtt)]
    assert per_epoch[0] == per_epoch[1]
    assert ours.steps == mtt.steps == 100
    assert "CPU schedule" in ours.source
    assert "untuned" in ours.source


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_run_starts_at_what_the_experts_say_and_moves_all_that_is_learned(name, sampler):
    recipe = toy(name)
    plan = prepare(sampler, recipe, seed=0)
    matching = plan.method.inner if name == "datm" else plan.method
    assert isinstance(plan.method, DifficultyAlignment if name == "datm" else TrajectoryMatching)
    assert matching.experts is plan.experts
    assert matching.max_start == 2
    released = condense(sampler, recipe, seed=0)
    moved = [
        key for key, value in released.named_parameters() if not torch.equal(value, plan.synthetic.state_dict()[key])
    ]
    assert sorted(moved) == (["images.pixels"] + ["labels.logits"] * (name == "datm") + ["step_size"])


def test_experts_of_another_network_or_training_are_refused(sampler, tmp_path):
    recipe = toy("ftd")
    train_experts_for(sampler, recipe, folder=tmp_path)
    for changes, told in [
        ({"width": 5}, "network.options.width is 4, now 5"),
        ({"training_gap_weight": 1.0}, "training_gap_weight is 0.3, now 1.0"),
    ]:
        with pytest.raises(ExpertError, match=rf"{told}.*choose another folder"):
            train_experts_for(sampler, recipe.with_values(changes), folder=tmp_path)


def test_flat_experts_are_not_those_of_mtt(sampler):
    names = {
        expert_folder_name(sampler, find_recipe(name, images_per_class=1, schedule="cpu"), data="digits")
        for name in ("mtt", "ftd")
    }
    assert len(names) == 2


def test_datm_refuses_a_range_that_shrinks_before_experts_are_trained(sampler):
    recipe = find_recipe("datm", images_per_class=1, schedule="cpu").with_values({"max_start": 3})
    with pytest.raises(
        ValueError, match="first_max_start must lie above min_start, 0, and be max_start, 3, at most, got 4"
    ):
        prepare(sampler, recipe, seed=0)
