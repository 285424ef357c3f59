"""The values of LD, RaT-BPTT, Maclaurin and SLDD for texts: published ones, and what the CPU schedule says of its own."""

import math

import pytest
import torch

from core_distill.methods import LabelDistillation, RidgeLabelDistillation, TruncatedTraining, UnrolledTraining
from core_distill.networks import TextCNN
from core_distill.recipes import find_recipe, initial_set

NAMES = ["ld", "ld-ridge", "maclaurin", "rat-bptt", "sldd-text"]

PUBLISHED = {
    "ld": (
        LabelDistillation,
        {
            "batch_size": 1024,
            "base_batch_size": 50,
            "network_rate": 0.001,
            "patience": 50,
            "label_learning_rate": 0.0111,
            "confidence": 0.0,
            "steps": 17_600,
        },
    ),
    "ld-ridge": (
        RidgeLabelDistillation,
        {"batch_size": 1024, "base_batch_size": 50, "regularisation": 1.0, "head_rate": 0.01, "patience": 50},
    ),
    "maclaurin": (
        UnrolledTraining,
        {
            "inner_steps": 1,
            "inner_epochs": 100,
            "inner_momentum": 0.9,
            "image_learning_rate": 0.04,
            "step_sizes": "each",
        },
    ),
    "rat-bptt": (
        TruncatedTraining,
        {"batch_size": 5000, "inner_steps": 200, "window": 60, "clip": 2.0, "step_size": 0.001, "steps": 600_000},
    ),
    "sldd-text": (
        UnrolledTraining,
        {"inner_steps": 1, "inner_epochs": 5, "step_size": 0.01, "image_learning_rate": 0.01, "network": "text-cnn"},
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_published_values(name):
    recipe = find_recipe(name, images_per_class=10)
    method, expected = PUBLISHED[name]
    assert recipe.method.func is method
    assert {key: recipe.values()[key] for key in expected} == expected
    assert recipe.values()["optimizer"] == "adam"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("images_per_class", [1, 3, 10, 50])
def test_the_cpu_schedule_says_what_it_is(name, images_per_class):
    recipe = find_recipe(name, images_per_class=images_per_class, schedule="cpu")
    assert recipe.source.startswith("CPU schedule: ")
    assert str(recipe.steps) in recipe.source
    assert recipe.steps < find_recipe(name, images_per_class=images_per_class).steps


@pytest.mark.parametrize("name", NAMES)
def test_the_values_say_everything(name):
    """As a federated client reads them: by name, then every value."""
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    assert paper.with_values(cpu.values()).values() == cpu.values()


@pytest.mark.parametrize(("data", "images_per_class", "patience"), [("", 10, 50), ("", 50, 200), ("cifar100", 1, 100)])
def test_patience_follows_data_and_budget(data, images_per_class, patience):
    assert find_recipe("ld", images_per_class=images_per_class, data=data).values()["patience"] == patience


@pytest.mark.parametrize(
    ("data", "images_per_class", "steps", "base", "rate"),
    [
        ("mnist", 10, 19_600, 50, 0.0111),
        ("mnist", 20, 39_200, 50, 0.0111),
        ("cifar10", 1, 17_600, 50, 0.0111),
        ("cifar10", 50, 35_200, 50, 0.0111),
        ("cifar100", 1, 35_200, 100, 0.101),
    ],
)
def test_labels_alone_are_learned_for_as_long_and_as_fast_as_released(data, images_per_class, steps, base, rate):
    for name in ("ld", "ld-ridge"):
        found = find_recipe(name, images_per_class=images_per_class, data=data).values()
        assert (found["steps"], found["base_batch_size"], found["label_learning_rate"]) == (steps, base, rate)


def test_step_sizes_start_where_the_data_have_them():
    for name in ("dd", "sldd"):
        found = {
            data: find_recipe(name, images_per_class=10, data=data) for data in ("cifar10", "mnist", "fashion-mnist")
        }
        assert [(one.step_size, one.step_learning_rate) for one in found.values()] == [
            (0.001, 1e-5),
            *[(0.02, 2e-4)] * 2,
        ]


def test_a_small_step_of_logits_moves_labels_as_far_as_the_published_one_of_probabilities():
    """LD's labels start uniform, SLDD's at 0.9 for ours; the gradient step of Adam is its rate."""
    for name, start, published in (("ld", "uniform", 0.001), ("sldd", "sure", 0.01)):
        recipe = find_recipe(name, images_per_class=1, data="cifar10")
        logits = torch.zeros(10) if start == "uniform" else torch.eye(10)[0] * math.log(0.9 / (0.1 / 9))
        moved = logits.clone()
        moved[0] += 0.01 * recipe.label_learning_rate
        assert (moved.softmax(0) - logits.softmax(0))[0].item() == pytest.approx(0.01 * published, rel=0.02)


@pytest.mark.parametrize(("data", "augment"), [("fashion-mnist", "flip,rotate"), ("digits", "rotate")])
def test_digits_are_not_mirrored(data, augment):
    assert find_recipe("rat-bptt", images_per_class=1, data=data).values()["augment"] == augment


@pytest.mark.parametrize("name", ["maclaurin", "sldd-text"])
@pytest.mark.parametrize("schedule", ["cpu", "paper"])
@pytest.mark.parametrize("images_per_class", [1, 3])
def test_each_step_has_its_step_size(name, schedule, images_per_class, sampler):
    recipe = find_recipe(name, images_per_class=images_per_class, schedule=schedule)
    steps = recipe.values()["inner_steps"] * recipe.values()["inner_epochs"]
    assert recipe.values()["inner_steps"] <= images_per_class
    assert initial_set(sampler, recipe, seed=0).step_size.shape == (steps,)
    assert recipe.learned == ("images", "labels", "step size")


def test_texts_have_a_network_for_texts():
    assert find_recipe("sldd-text", images_per_class=1).network in (TextCNN,)


@pytest.mark.parametrize(("images_per_class", "base"), [(1, 50), (2, 10), (5, 25), (10, 50), (50, 50)])
def test_label_distillation_sees_as_many_base_images_as_released(images_per_class, base):
    """Of 10 classes: all 10, 10 of 20, 25 of 50 and 50 of more; one image a class has no more than 10."""
    for name in ("ld", "ld-ridge"):
        values = find_recipe(name, images_per_class=images_per_class, data="cifar10").values()
        assert values["base_batch_size"] == base
        assert find_recipe(name, images_per_class=images_per_class, data="cifar100").values()["base_batch_size"] == 100
