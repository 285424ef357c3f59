"""Lorraine's and BPC's values: published ones by budget, and what the CPU schedule changes."""

import pytest

from core_distill.matching.bayesian import forward_kl, reverse_kl, wasserstein
from core_distill.methods import BayesianPseudocoreset, ImplicitDifferentiation
from core_distill.partials import fixed, wrapped
from core_distill.recipes import find_recipe

DIVERGENCES = {"bpc-forward-kl": forward_kl, "bpc-reverse-kl": reverse_kl, "bpc-wasserstein": wasserstein}
NAMES = ["lorraine", *DIVERGENCES]


def test_published_values_of_implicit_differentiation():
    recipe = find_recipe("lorraine", images_per_class=10)
    assert wrapped(recipe.method) is ImplicitDifferentiation
    expected = {
        "batch_size": 256,
        "image_learning_rate": 0.01,
        "inner_momentum": 0.5,
        "inner_steps": 10,
        "learning_rate": 0.02,
        "lifetime": 1,
        "momentum": 0.5,
        "optimizer": "adam",
        "steps": 1000,
        "terms": 11,
        "weight_decay": 0.0,
    }
    assert {key: recipe.values()[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("images_per_class", "expected"),
    [
        (1, {"inner_steps": 50, "max_start": 2, "step_size": 0.01}),
        (10, {"inner_steps": 30, "max_start": 20, "step_size": 0.03}),
        (15, {"inner_steps": 30, "max_start": 20, "step_size": 0.03}),
        (20, {"inner_steps": 30, "max_start": 30, "step_size": 0.03}),
    ],
)
@pytest.mark.parametrize("name", DIVERGENCES)
def test_published_values_of_pseudocoresets(name, images_per_class, expected):
    recipe = find_recipe(name, images_per_class=images_per_class, data="cifar10")
    assert wrapped(recipe.method) is BayesianPseudocoreset
    assert fixed(recipe.method)["divergence"] is DIVERGENCES[name]
    ends = images_per_class in (1, 20)
    expected = expected | {
        "batch_size": 1000,
        "expert_epochs": 2 if ends and name == "bpc-wasserstein" else 1,
        "image_learning_rate": 1000.0,
        "initialise": "real",
        "learn_step_size": name == "bpc-wasserstein",
        "momentum": 0.0 if name == "bpc-reverse-kl" else 0.5,
        "noise": 0.01,
        "samples": 10 if ends and name == "bpc-reverse-kl" else 30,
        "steps": 5000,
    }
    values = recipe.values()
    assert {key: values[key] for key in expected} == expected
    assert "flip" in values["augment"]
    assert "flip" not in find_recipe(name, images_per_class=1, data="mnist").values()["augment"]


@pytest.mark.parametrize(("images_per_class", "rate"), [(1, 1e-7), (10, 1e-5)])
def test_the_step_size_of_wasserstein_is_learned_at_the_published_rate(images_per_class, rate):
    recipe = find_recipe("bpc-wasserstein", images_per_class=images_per_class)
    assert recipe.step_learning_rate == rate
    assert recipe.learned == ("images", "step size")


def test_values_for_other_data_say_whose_they_are():
    for name in DIVERGENCES:
        assert "CIFAR-10's" in find_recipe(name, images_per_class=10, data="fashion-mnist").source
        assert "CIFAR-10's" not in find_recipe(name, images_per_class=10, data="cifar10").source


@pytest.mark.parametrize("name", NAMES)
def test_the_cpu_schedule_says_what_it_changes(name):
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    changed = {key: value for key, value in cpu.values().items() if value != paper.values()[key]}
    assert "CPU schedule" in cpu.source
    for value in changed.values():
        ways = [value] if isinstance(value, str) else [f"{value:g}", f"{value:,}"]
        assert any(way in cpu.source for way in ways)
    assert paper.with_values(cpu.values()).values() == cpu.values()


@pytest.mark.parametrize("name", NAMES)
def test_descriptions_name_the_functions(name):
    described = find_recipe(name, images_per_class=10).describe()
    expected = {"divergence": DIVERGENCES[name].__name__} if name in DIVERGENCES else {}
    assert expected.items() <= described["functions"].items()
