"""Changing and describing recipes: text and typed values, names that do not exist, and an account that is JSON."""

import dataclasses
import functools
import json

import pytest

from core_distill.augment import Dsa
from core_distill.methods import GradientMatching
from core_distill.networks import MLP, NETWORKS, NORMS, ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import RECIPES, find_recipe
from core_distill.recipes.labels import hard, soft
from core_distill.recipes.values import read
from core_distill.synthetic.initialise import noise, real_images

NAMES = sorted(RECIPES)


@pytest.fixture
def recipe():
    return find_recipe("dc", images_per_class=10, data="digits")


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_found_by_name(name):
    recipe = find_recipe(name, images_per_class=3, data="cifar10")
    assert recipe.name == name
    assert recipe.images_per_class == 3
    assert any(where in recipe.paper for where in ("arXiv", "openreview"))
    assert recipe.source


@pytest.mark.parametrize("name", ["DM", "", "dmm"])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(ValueError, match=f"no recipe is called '{name}'; known: {', '.join(NAMES)}"):
        find_recipe(name, images_per_class=1)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("steps", "60", 60),
        ("steps", 60, 60),
        ("steps", 60.0, 60),
        ("steps", "2e3", 2000),
        ("batch_size", "32", 32),
        ("inner_epochs", 3, 3),
        ("image_learning_rate", "0.5", 0.5),
        ("image_learning_rate", 2, 2.0),
        ("momentum", "1e-1", 0.1),
        ("learning_rate", "0.2", 0.2),
        ("width", "16", 16),
        ("depth", 2, 2),
        ("norm", "batch", "batch"),
        ("norm", batch_norm, "batch"),
        ("network", "mlp", "mlp"),
        ("network", ConvNet, "convnet"),
        ("initialise", "noise", "noise"),
        ("optimizer", "adam", "adam"),
        ("decay", "cosine", "cosine"),
        ("initialise", real_images, "real"),
        ("labels", "soft", "soft"),
        ("step_sizes", "shared", "shared"),
        ("learn_step_size", False, False),
        ("labels", hard, "hard"),
        ("augment", "flip,color", "flip,color"),
        ("augment", "", ""),
    ],
)
def test_text_and_typed_values_are_read(name, value, read, recipe):
    found = recipe.with_values({name: value}).values()[name]
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([""], ()),
        (["", "8,4"], (8, 4)),
        (["", "0.5"], (0.5,)),
        (["", "color,crop"], ("color", "crop")),
        ([(), (8, 4)], (8, 4)),
        (["8", "4,2"], (4, 2)),
    ],
)
def test_a_tuple_may_be_empty_and_filled_again(values, found):
    now = (128,)
    for value in values:
        now = read("hidden", value, now)
    assert now == found
    assert [type(part) for part in now] == [type(part) for part in found]


def test_values_land_where_they_work(recipe):
    changed = recipe.with_values(
        {
            "steps": "7",
            "batch_size": "8",
            "inner_epochs": "9",
            "width": "10",
            "norm": "none",
            "labels": "soft",
            "initialise": "noise",
            "augment": "flip,crop",
        }
    )
    assert changed.steps == 7
    assert changed.labels is soft
    assert changed.initialise is noise
    assert changed.augment == Dsa(operations=("flip", "crop"))
    assert changed.method.func is GradientMatching
    assert changed.method.keywords == {"batch_size": 8, "outer_steps": 10, "inner_epochs": 9}
    assert changed.network.keywords == {"width": 10, "norm": NORMS["none"]}
    network = network_factory(changed.network, (1, 8, 8), 10)(derive_generator(0))
    assert network.blocks[0].out_channels == 10


def test_the_recipe_that_is_changed_stays_what_it_was(recipe):
    before = recipe.describe()
    recipe.with_values({"steps": 5, "batch_size": 1, "width": 2, "augment": ""})
    assert recipe.describe() == before


@pytest.mark.parametrize("name", NAMES)
def test_all_values_may_be_given_back_as_they_are(name):
    recipe = find_recipe(name, images_per_class=2, data="digits")
    recipe = recipe.with_values({"width": 4} if "width" in recipe.values() else {})
    again = recipe.with_values(recipe.values())
    assert again.describe() == recipe.describe()


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_another_network_has_values_of_its_own(network, recipe):
    changed = recipe.with_values({"width": 32}).with_values({"network": network})
    own = {name: changed.values()[name] for name in ("width", "depth", "norm") if name in changed.values()}
    assert (
        own
        == {
            "convnet": {"width": 128, "depth": 0, "norm": "instance"},
            "lenet": {},
            "mlp": {},
            "resnet18": {"width": 64, "norm": "batch"},
            "text-cnn": {"width": 100},
        }[network]
    )


def test_the_order_of_changes_does_not_matter(recipe):
    for changes in ({"network": "resnet18", "width": 8}, {"width": 8, "network": "resnet18"}):
        assert recipe.with_values(changes).network.keywords == {"width": 8}


@pytest.mark.parametrize("changes", [{"network": "mlp", "depth": 3}, {"depth": 3, "network": "lenet"}])
def test_a_value_that_only_the_old_network_had_is_unknown(changes, recipe):
    with pytest.raises(ValueError, match=r"recipe dc has no value depth; it has .*network"):
        recipe.with_values(changes)


def test_unknown_names_are_all_told_with_the_known(recipe):
    with pytest.raises(ValueError, match="recipe dc has no value stepz, zeta; it has ") as caught:
        recipe.with_values({"zeta": 1, "stepz": 1, "steps": 3})
    assert all(name in str(caught.value) for name in recipe.values())


@pytest.mark.parametrize("name", ["name", "paper", "source", "method", "real", "signal"])
def test_what_a_recipe_is_called_and_does_cannot_be_set(name, recipe):
    with pytest.raises(ValueError, match=f"has no value {name}"):
        recipe.with_values({name: "x"})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", "many", "steps must be a whole number from 0 up, like 10000, got 'many'"),
        ("steps", "1.5", "steps must be a whole number"),
        ("steps", "inf", "steps must be a whole number"),
        ("steps", "nan", "steps must be a whole number"),
        ("steps", None, "steps must be a whole number"),
        ("steps", True, "steps must be a whole number"),
        ("steps", "", "steps must be a whole number"),
        ("steps", [1], "steps must be a whole number"),
        ("momentum", "fast", "momentum must be a number, like 0.5, got 'fast'"),
        ("momentum", None, "momentum must be a number"),
        ("momentum", [1], "momentum must be a number"),
        ("image_learning_rate", "nan", "image_learning_rate must be a number"),
        ("image_learning_rate", "1e999", "image_learning_rate must be a number"),
        ("learn_step_size", "1", "learn_step_size must be true or false, like False, got '1'"),
        ("norm", "layer", "norm must be one of batch, group, instance, none, got 'layer'"),
        ("network", "vgg", "network must be one of .*convnet, .*got 'vgg'"),
        ("network", 3, "network must be one of"),
        ("optimizer", "lamb", "optimizer must be one of .*adam, .*got 'lamb'"),
        ("decay", "step", "decay must be one of constant, cosine, halvings, got 'step'"),
        ("initialise", "ones", "initialise must be one of .*noise, .*got 'ones'"),
        ("labels", "fuzzy", "labels must be one of .*hard, .*got 'fuzzy'"),
        ("images", "wavelets", "images must be one of .*pixels, .*got 'wavelets'"),
        ("augment", "flip,spin", r"unknown DSA operations \['spin'\]"),
        ("steps", "0", "steps must be at least 1, got 0"),
        ("images_per_class", "0", "images_per_class must be at least 1, got 0"),
        ("inner_epochs", "-1", "inner_epochs must be a whole number from 0 up, like 50, got '-1'"),
        ("width", -2, "width must be a whole number from 0 up"),
        ("image_learning_rate", "-1", r"image_learning_rate must be at least 0, got -1\.0"),
        ("label_learning_rate", -0.1, r"label_learning_rate must be at least 0, got -0\.1"),
        ("step_learning_rate", -1, "step_learning_rate must be at least 0"),
        ("momentum", "-0.5", "momentum must be at least 0"),
        ("step_size", "0", r"step_size must be above 0, got 0\.0"),
        ("step_size", -1, r"step_size must be above 0, got -1\.0"),
        ("step_sizes", "some", "step_sizes must be one of each, shared, got 'some'"),
    ],
)
def test_a_value_of_another_kind_is_refused(name, value, message, recipe):
    with pytest.raises(ValueError, match=message):
        recipe.with_values({name: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_json_and_stable(name):
    first, again = (find_recipe(name, images_per_class=10, data="svhn").describe() for _ in range(2))
    assert json.dumps(first) == json.dumps(again)
    assert json.loads(json.dumps(first, allow_nan=False)) == first
    assert list(first["values"]) == sorted(first["values"])


def test_a_description_says_everything(recipe):
    changed = recipe.with_values({"width": 16, "norm": "group"}).because("mine").renamed("me", paper="Mine, 2026")
    assert changed.describe() == {
        "name": "me",
        "paper": "Mine, 2026",
        "source": "mine",
        "method": "GradientMatching",
        "values": {
            "augment": "",
            "average": 0.0,
            "batch_size": 256,
            "batches": "uniform",
            "decay": "constant",
            "depth": 0,
            "image_learning_rate": 0.1,
            "images": "pixels",
            "images_per_class": 10,
            "initialise": "noise",
            "inner_epochs": 50,
            "label_learning_rate": 0.1,
            "labels": "hard",
            "learn_step_size": False,
            "learning_rate": 0.01,
            "momentum": 0.5,
            "network": "convnet",
            "norm": "group",
            "optimizer": "sgd",
            "outer_steps": 10,
            "step_learning_rate": 1e-5,
            "step_size": 0.01,
            "step_sizes": "shared",
            "steps": 10_000,
            "widening": 1,
            "width": 16,
        },
        "functions": {},
    }


def test_what_has_no_name_here_is_written_by_its_own(recipe):

    def ones(real, images_per_class, generator):
        raise NotImplementedError

    mine = dataclasses.replace(recipe, initialise=ones, network=functools.partial(ConvNet, width=4))
    assert mine.values()["initialise"] == "ones"
    assert mine.values()["width"] == 4


def test_a_function_and_several_numbers_are_described_and_numbers_can_be_changed(recipe):
    def my_distance(own, targets):
        return own[0].sum()

    method = functools.partial(recipe.method, distance=my_distance)
    other = dataclasses.replace(recipe, method=method, network=functools.partial(MLP, hidden=(8, 4)))
    assert other.describe()["functions"]["distance"].endswith("my_distance")
    assert other.values()["hidden"] == "8,4"
    assert other.with_values({"hidden": "16,16"}).values()["hidden"] == "16,16"
    with pytest.raises(ValueError, match=r"hidden must be numbers with commas, like \(8, 4\), got '8;4'"):
        other.with_values({"hidden": "8;4"})
