"""CAFE's and NCFM's recipes: published values, and a CPU schedule that says what it changes."""

import pytest
import torch

from core_distill.methods import CharacteristicMatching, FeatureAlignment
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe

PUBLISHED = {
    "cafe": {
        "augment": "",
        "batch_size": 256,
        "decay": "halvings",
        "discrimination_weight": 2.56,
        "image_learning_rate": 0.1,
        "initialise": "noise",
        "inner_spread": 0.03,
        "layer_weights": "0.1,0.1,1.0,2.0",
        "learning_rate": 0.01,
        "momentum": 0.5,
        "optimizer": "sgd",
        "outer_spread": 0.04,
        "query_size": 128,
        "steps": 20_000,
        "window": 10,
    },
    "ncfm": {
        "amplitude_weight": 0.5,
        "augment": "color,crop,cutout",
        "batch_size": 1024,
        "calibration_weight": 1.0,
        "decay": "cosine",
        "image_learning_rate": 0.00704,
        "initialise": "real",
        "match_weight": 300.0,
        "num_experts": 20,
        "num_frequencies": 4096,
        "optimizer": "adam",
        "phase_weight": 0.5,
        "steps": 20_000,
        "training_batch_size": 128,
        "training_epochs": 60,
        "training_momentum": 0.9,
        "training_rate": 0.01,
    },
}
CHANGED = {
    "cafe": {"steps", "batch_size", "query_size", "window", "max_losses", "initialise"},
    "ncfm": {
        "steps",
        "batch_size",
        "image_learning_rate",
        "num_frequencies",
        "num_experts",
        "training_batch_size",
        "training_epochs",
        "training_images",
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("images_per_class", [1, 10, 50])
def test_published_values(name, images_per_class):
    recipe = find_recipe(name, images_per_class=images_per_class, data="cifar10")
    assert recipe.method.func is {"cafe": FeatureAlignment, "ncfm": CharacteristicMatching}[name]
    assert {key: recipe.values()[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert recipe.learned == ("images",)
    assert "depart" in recipe.source


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_cpu_schedule_says_what_it_changes(name):
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    changed = {key: value for key, value in cpu.values().items() if value != paper.values()[key]}
    assert set(changed) == CHANGED[name]
    assert "CPU schedule" in cpu.source
    assert all(f"{value:,}" in cpu.source for value in changed.values() if isinstance(value, int))


@pytest.mark.parametrize(("data", "classes", "std"), [("cifar10", 1, 0.2009), ("cifar100", 12, 0.2666)])
def test_one_update_of_adam_goes_as_far_as_two_a_class_in_turn(data, classes, std):
    """NCFM's rate beside the released code's, where a process makes two updates for each of its classes in turn.

    The two gradients of a class agree in a third of what they are, the rest is chance.
    """
    rate = find_recipe("ncfm", images_per_class=1, data=data).image_learning_rate
    theirs, ours = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizers = [torch.optim.Adam([theirs], lr=0.001 / std), torch.optim.Adam([ours], lr=rate)]
    pairs = 0.3 + torch.randn(2000, 2, generator=derive_generator(0))
    for pair in pairs:
        for gradient in [*pair, *[torch.zeros(())] * (2 * (classes - 1))]:
            theirs.grad = gradient.view(1)
            optimizers[0].step()
        ours.grad = pair.sum().view(1)
        optimizers[1].step()
    assert ours.item() == pytest.approx(theirs.item(), rel=0.1)


def test_ncfm_has_another_optimizer_for_cifar100_at_ten_images():
    values = {ipc: find_recipe("ncfm", images_per_class=ipc, data="cifar100").values() for ipc in (1, 10, 50)}
    assert [values[ipc]["optimizer"] for ipc in values] == ["adam", "sgd", "adam"]
    assert values[10]["image_learning_rate"] == pytest.approx(0.01 / 0.2666**2, rel=1e-2)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_values_say_everything(name):
    """As a federated client reads them: by name, then every value."""
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    assert paper.with_values(cpu.values()).values() == cpu.values()
