"""Values of the kernel methods, as published, and AdaBelief against its formulas."""

import copy

import pytest
import torch

from core_distill.recipes import RECIPES, find_recipe
from core_distill.recipes.adabelief import AdaBelief
from core_distill.recipes.optimizers import OPTIMIZERS

PUBLISHED = {
    "kip": {
        "batch_size": 500,
        "bias_std": 0.01,
        "hidden": "1024",
        "labels": "hard",
        "optimizer": "adam",
        "regularisation": 1e-6,
        "steps": 300,
        "tangent": True,
        "view": 1,
    },
    "kip-conv": {"bias_std": 0.1, "depth": 3, "labels": "soft", "norm": "none", "optimizer": "adam", "view": 1},
    "rcig": {
        "average": 0.99,
        "batch_size": 1024,
        "image_learning_rate": 3e-3,
        "inner_steps": 20,
        "inverse_steps": 20,
        "labels": "soft",
        "max_age": 100,
        "network_rate": 5e-5,
        "norm": "none",
        "optimizer": "adabelief",
        "pool_size": 30,
        "pool_steps": 15,
        "regularisation": 5e-4,
        "temperature_rate": 0.03,
        "width": 128,
    },
    "rfad": {
        "batch_size": 5120,
        "image_learning_rate": 1e-3,
        "norm": "none",
        "num_networks": 8,
        "optimizer": "adabelief",
        "platt": True,
        "regularisation": 5e-3,
        "temperature_rate": 0.01,
        "width": 256,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    values = find_recipe(name, images_per_class=10, data="fashion-mnist").values()
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_cpu_schedule_says_that_it_is_one(name):
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    assert cpu.source.startswith("CPU schedule: ")
    work = [recipe.steps * recipe.values()["batch_size"] for recipe in (cpu, paper)]
    assert work[0] < work[1] or name == "kip"  # 300 steps of a small kernel are seconds
    changed = {key for key in cpu.values() if cpu.values()[key] != paper.values()[key]}
    assert changed >= {"steps", "image_learning_rate"}


def test_the_data_choose_the_rate_and_the_view():
    assert find_recipe("kip", images_per_class=1, data="cifar10").image_learning_rate == 0.04
    assert find_recipe("kip", images_per_class=1, data="mnist").image_learning_rate == 0.01
    targets = [
        RECIPES[name](images_per_class=1, data="cifar100").values()["batch_size"] for name in ("kip", "kip-conv")
    ]
    assert targets == [50, 50], "5,000 over all classes"
    views = [RECIPES["kip-conv"](images_per_class=1, data=data, schedule="cpu") for data in ("digits", "mnist")]
    assert [recipe.values()["view"] for recipe in views] == [1, 4]


def by_hand(values, gradients, rate, first, second, eps):
    mean, spread = 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        mean = first * mean + (1 - first) * gradient
        spread = second * spread + (1 - second) * (gradient - mean) ** 2 + eps
        scale = (spread / (1 - second**step)) ** 0.5 + eps
        values = values - rate * mean / (1 - first**step) / scale
    return values


def test_adabelief_by_its_formulas_and_resumed():
    gradients = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    leaf = torch.ones(4, dtype=torch.float64, requires_grad=True)
    optimizer = AdaBelief([leaf], lr=0.1, betas=(0.8, 0.99), eps=1e-8)
    for step, gradient in enumerate(gradients):
        if step == 4:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = AdaBelief([leaf], lr=5.0)
            optimizer.load_state_dict(state)
        leaf.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(leaf.detach(), by_hand(torch.ones(4).double(), gradients, 0.1, 0.8, 0.99, 1e-8))


def test_adabelief_by_name_and_with_a_closure():
    leaf = torch.ones(2, requires_grad=True)
    optimizer = OPTIMIZERS["adabelief"]([{"params": [leaf], "lr": 0.1}], 0.9)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)

    def closure():
        optimizer.zero_grad()
        loss = leaf.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 2
    assert leaf.max() < 1
    with pytest.raises(ValueError, match="beta 1 and must lie in"):
        OPTIMIZERS["adabelief"]([{"params": [leaf], "lr": 0.1}], 1.0)
