"""MTT's and TESLA's recipes: published values where they are, experts in the values, experts shared and handed on."""

import json

import pytest
import torch

from core_distill.methods import TrajectoryMatching
from core_distill.recipes import condense, expert_folder_name, experts, find_recipe, prepare, train_experts_for
from core_distill.training.expert_settings import ExpertTraining

NAMES = ["mtt", "tesla"]
TOY = {"steps": 2, "width": 4, "depth": 2, "num_experts": 2, "training_epochs": 2, "inner_steps": 2, "max_start": 1}


@pytest.fixture(params=NAMES)
def toy(request):
    return find_recipe(request.param, images_per_class=2, data="digits", schedule="cpu").with_values(TOY)


@pytest.mark.parametrize(
    ("data", "images_per_class", "values"),
    [
        ("cifar10", 1, (50, 2, 2, 100.0, 1e-7, 0.01, 0)),
        ("cifar10", 10, (30, 2, 20, 100.0, 1e-5, 0.001, 0)),
        ("cifar10", 30, (30, 2, 20, 100.0, 1e-5, 0.001, 0)),
        ("cifar10", 50, (30, 2, 40, 1000.0, 1e-5, 0.001, 0)),
        ("cifar100", 1, (20, 3, 20, 1000.0, 1e-5, 0.01, 0)),
        ("cifar100", 50, (80, 2, 40, 1000.0, 1e-5, 0.01, 125)),
        ("fashion-mnist", 10, (30, 2, 20, 100.0, 1e-5, 0.001, 0)),
    ],
)
def test_published_values(data, images_per_class, values):
    recipe = find_recipe("mtt", images_per_class=images_per_class, data=data)
    names = ("inner_steps", "expert_epochs", "max_start", "image_learning_rate", "step_learning_rate", "step_size")
    assert tuple(recipe.values()[name] for name in (*names, "batch_size")) == values
    assert recipe.learned == ("images", "step size")
    assert recipe.values()["num_experts"] == 100
    assert recipe.steps == 5000
    assert ("nothing is published for this data" in recipe.source) is (data == "fashion-mnist")


def test_tesla_is_truncated_with_the_factor_its_code_loses():
    recipe = find_recipe("tesla", images_per_class=1, data="cifar10")
    values = recipe.values()
    assert (values["truncated"], values["max_start"], values["image_learning_rate"]) == (True, 5, 500.0)
    assert "here 500" in recipe.source
    assert find_recipe("mtt", images_per_class=1).values()["truncated"] is False
    assert find_recipe("tesla", images_per_class=10).values()["image_learning_rate"] == 100.0
    rates = {
        ipc: find_recipe("tesla", images_per_class=ipc, data="cifar100").image_learning_rate for ipc in (1, 10, 50)
    }
    assert rates == {1: 1000.0, 10: 1000.0, 50: 500.0}
    assert {find_recipe("tesla", images_per_class=ipc).steps for ipc in (1, 10, 50)} == {10_000}
    assert "5,000" not in find_recipe("tesla", images_per_class=10).source


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schedule", ["paper", "cpu"])
@pytest.mark.parametrize("data", ["cifar10", "cifar100", "mnist"])
@pytest.mark.parametrize("images_per_class", [1, 10, 50])
def test_stretches_lie_within_the_experts_that_the_recipe_trains(name, schedule, data, images_per_class):
    values = find_recipe(name, images_per_class=images_per_class, data=data, schedule=schedule).values()
    assert values["max_start"] - 1 + values["expert_epochs"] <= values["training_epochs"]


def test_experts_are_values_of_the_recipe(toy):
    changed = toy.with_values({"num_experts": "3", "training_rate": "0.5", "max_start": 2, "width": 5})
    assert changed.experts == ExpertTraining(
        num_experts=3, training_epochs=2, training_rate=0.5, training_images=toy.experts.training_images
    )
    values = changed.values()
    assert (values["num_experts"], values["training_rate"], values["max_start"], values["width"]) == (3, 0.5, 2, 5)
    assert json.loads(json.dumps(changed.describe()))["values"] == values
    with pytest.raises(ValueError, match="num_experts must be at least 1, got 0"):
        toy.with_values({"num_experts": 0})


def test_recipes_without_experts_have_no_such_values():
    with pytest.raises(ValueError, match="recipe dm has no value num_experts"):
        find_recipe("dm", images_per_class=1).with_values({"num_experts": 3})


def test_the_method_gets_the_experts_in_the_folder(toy, sampler, tmp_path):
    plan = prepare(sampler, toy, seed=0, experts_folder=tmp_path)
    assert isinstance(plan.method, TrajectoryMatching)
    assert plan.method.experts is plan.experts
    assert (plan.experts.num_experts, plan.experts.epochs) == (2, 2)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "expert-000.safetensors",
        "expert-001.safetensors",
    ]


def test_a_folder_changes_no_bit_of_the_result_nor_does_finding_it_full(toy, sampler, tmp_path):
    sets = [condense(sampler, toy, seed=3, experts_folder=folder) for folder in (None, tmp_path, tmp_path)]
    for other in sets[1:]:
        assert torch.equal(sets[0].images.pixels, other.images.pixels)
        assert torch.equal(sets[0].step_size, other.step_size)


def test_both_recipes_and_all_seeds_share_experts(sampler):
    mtt, tesla = (find_recipe(name, images_per_class=2, data="digits", schedule="cpu") for name in NAMES)
    name = expert_folder_name(sampler, mtt, data="digits")
    assert name == expert_folder_name(sampler, tesla, data="digits")
    assert name == expert_folder_name(sampler, mtt.with_values({"inner_steps": 3}), data="digits")
    assert name != expert_folder_name(sampler, mtt.with_values({"width": 8}), data="digits")


def test_a_recipe_without_experts_trains_none(sampler):
    recipe = find_recipe("dm", images_per_class=1)
    assert train_experts_for(sampler, recipe) is None
    with pytest.raises(ValueError, match="recipe dm uses no experts"):
        expert_folder_name(sampler, recipe, data="digits")


def test_more_than_the_experts_hold_is_refused(toy, sampler):
    with pytest.raises(ValueError, match="these have 2: choose a max_start of at most 2"):
        condense(sampler, toy.with_values({"max_start": 3}), seed=0)


def test_values_that_the_method_refuses_are_refused_before_experts_are_trained(sampler, monkeypatch):
    monkeypatch.setattr(experts, "train_experts", lambda *a, **k: pytest.fail("experts were trained"))
    recipe = find_recipe("mtt", images_per_class=1, schedule="cpu").with_values({"max_start": 60})
    with pytest.raises(ValueError, match="choose a max_start of at most 10"):
        prepare(sampler, recipe, seed=0)
