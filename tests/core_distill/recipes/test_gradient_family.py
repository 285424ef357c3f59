"""DCC's, DSAC's, multi-level matching's, IDC's and Acc-DD's recipes: published values, and what the CPU schedule says."""

import pytest

from core_distill.matching.gradient_distances import convolution_l1, convolution_squared
from core_distill.methods import ClassSummedMatching, EarlyStageMatching, MultilevelMatching, RealTrainedMatching
from core_distill.recipes import find_recipe

NAMES = ["acc-dd", "dcc", "dsac", "idc", "multilevel"]


def values_of(name, images_per_class=10, data="", schedule="paper"):
    return find_recipe(name, images_per_class=images_per_class, data=data, schedule=schedule).values()


@pytest.mark.parametrize("name", ["dcc", "dsac"])
@pytest.mark.parametrize(
    ("images_per_class", "loops"), [(1, (10, 5)), (5, (10, 5)), (10, (10, 50)), (25, (20, 25)), (50, (50, 10))]
)
def test_published_values_of_dcc(name, images_per_class, loops):
    recipe = find_recipe(name, images_per_class=images_per_class, data="cifar10")
    assert recipe.method.func is ClassSummedMatching
    values = recipe.values()
    assert (values["outer_steps"], values["inner_epochs"]) == loops
    assert values["steps"] == 1_000 * loops[0]
    expected = {"outer_warmup": 250, "inner_warmup": 10, "batch_size": 256, "image_learning_rate": 0.1, "momentum": 0.5}
    assert {key: values[key] for key in expected} == expected
    assert values["initialise"] == "real"
    assert (values["augment"] == "") is (name == "dcc")


def test_dsac_mirrors_no_digits():
    assert "flip" in values_of("dsac", data="cifar10")["augment"]
    assert "flip" not in values_of("dsac", data="svhn")["augment"]


def test_published_values_of_multilevel_matching():
    recipe = find_recipe("multilevel", images_per_class=10)
    assert recipe.method.func is MultilevelMatching
    expected = {
        "augment": "",
        "batch_size": 256,
        "between_classes": 1.0,
        "image_learning_rate": 0.1,
        "initialise": "noise",
        "inner_schedule": "50,40,30,20,10,10,10,10,10,10,5",
        "learning_rate": 0.01,
        "network_momentum": 0.5,
        "outer_steps": 10,
        "steps": 10_000,
    }
    assert {key: recipe.values()[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("data", "distance", "rate", "network_images", "steps"),
    [
        ("cifar10", convolution_squared, 5e-3 / 0.2009**2, 2_048, 2_000_000),
        ("cifar100", convolution_squared, 5e-3 / 0.2666**2, 2_048, 20_000_000),
        ("svhn", convolution_squared, 5e-3 / 0.1980**2, 512, 2_000_000),
        ("mnist", convolution_l1, 1e-4 / 0.3081**2, 512, 2_000_000),
        ("fashion-mnist", convolution_l1, 1e-4 * 0.765625 / 0.3530**2, 512, 2_000_000),
    ],
)
def test_published_values_of_idc(data, distance, rate, network_images, steps):
    recipe = find_recipe("idc", images_per_class=10, data=data)
    assert recipe.method.func is RealTrainedMatching
    assert recipe.method.keywords["distance"] is distance
    values = recipe.values()
    assert values["image_learning_rate"] == pytest.approx(rate, rel=1e-2)
    expected = {
        "batch_size": 64,
        "classes_at_once": 1,
        "momentum": 0.5,
        "network_batch_size": 64,
        "network_images": network_images,
        "network_momentum": 0.9,
        "network_operations": "color,crop",
        "network_rate": 0.01,
        "network_weight_decay": 5e-4,
        "outer_steps": 100,
        "steps": steps,
        "synthetic_batch_size": 128,
    }
    assert {key: values[key] for key in expected} == expected
    assert values_of("idc", 50, data)["image_learning_rate"] == pytest.approx(5 * rate, rel=1e-2)
    assert "nothing is published" not in recipe.source


@pytest.mark.parametrize("schedule", ["paper", "cpu"])
@pytest.mark.parametrize("data", ["mnist", "digits", "fashion-mnist", "svhn", "cifar10"])
@pytest.mark.parametrize("name", ["idc", "idc-i", "acc-dd", "dream"])
def test_digits_in_grey_several_in_one_are_neither_cut_nor_mixed(name, data, schedule):
    recipe = find_recipe(name, images_per_class=10, data=data, schedule=schedule)
    found = {key: recipe.values()[key] for key in ("augment", "cutmix_share", "network_operations")}
    left_out = name != "idc-i" and data in ("mnist", "digits")
    assert found == {
        "augment": "color,crop" if left_out else "color,crop,cutout",
        "cutmix_share": 0.0 if left_out else 0.5,
        "network_operations": "color,crop",
    }
    if schedule == "paper":
        assert ("neither cutout nor CutMix" in recipe.source) is left_out
        assert not (name == "idc-i" and "2 x 2 images in one" in recipe.source)


@pytest.mark.parametrize(("data", "whose"), [("digits", "MNIST's"), ("my-images", "CIFAR-10's")])
@pytest.mark.parametrize("name", ["idc", "acc-dd"])
def test_data_without_published_values_says_whose_it_takes(name, data, whose):
    assert f"nothing is published for this data, so {whose}" in find_recipe(name, images_per_class=1, data=data).source


def test_what_is_said_of_first_images_and_of_what_networks_see():
    sources = {name: find_recipe(name, images_per_class=10, data="mnist").source for name in ("idc", "idc-i", "acc-dd")}
    assert ["shrunk" in source for source in sources.values()] == [True, False, True]
    assert "one of color and crop at a time" in sources["acc-dd"]


def test_published_values_of_acc_dd():
    recipe = find_recipe("acc-dd", images_per_class=10, data="cifar10")
    assert recipe.method.func is EarlyStageMatching
    assert recipe.method.keywords["inner"].func is RealTrainedMatching
    values = recipe.values()
    expected = {
        "expert_epochs": 2,
        "largest_push": 0.09,
        "network_images": 2_048,
        "num_experts": 5,
        "outer_steps": 100,
        "smallest_push": 0.01,
        "steps": 500_000,
        "training_batch_size": 64,
        "training_epochs": 2,
        "training_momentum": 0.9,
        "training_rate": 0.01,
    }
    assert {key: values[key] for key in expected} == expected
    assert values["image_learning_rate"] == pytest.approx(1e-2 / 0.2009**2, rel=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_the_cpu_schedule_says_what_it_changes(name):
    paper, cpu = (find_recipe(name, images_per_class=10, data="mnist", schedule=s) for s in ("paper", "cpu"))
    changed = {key for key, value in cpu.values().items() if value != paper.values()[key]}
    assert changed <= {
        "batch_size",
        "classes_at_once",
        "image_learning_rate",
        "inner_epochs",
        "inner_schedule",
        "network_images",
        "outer_steps",
        "outer_warmup",
        "steps",
        "training_images",
    }
    assert cpu.steps <= 300
    assert cpu.source.startswith("CPU schedule")
    assert f"{cpu.steps} steps" in cpu.source
    assert "untuned" in cpu.source


@pytest.mark.parametrize("name", NAMES)
def test_the_values_say_everything(name):
    """As a federated client reads them: by name, then every value."""
    paper, cpu = (find_recipe(name, images_per_class=10, schedule=schedule) for schedule in ("paper", "cpu"))
    assert paper.with_values(cpu.values()).values() == cpu.values()
