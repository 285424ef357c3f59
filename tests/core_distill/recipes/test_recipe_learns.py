"""What a recipe learns and trains by decides which of its values make sense: the others warn or are refused."""

import dataclasses
import functools

import pytest

from core_distill.partials import built
from core_distill.recipes import RECIPES, find_recipe

NAMES = sorted(RECIPES)


@pytest.fixture
def recipe():
    return find_recipe("dc", images_per_class=10, data="digits")


def test_a_rate_of_what_is_not_learned_warns(recipe):
    with pytest.warns(UserWarning, match="label_learning_rate has no effect"):
        recipe.with_values({"label_learning_rate": 3})
    with pytest.warns(UserWarning, match="step_learning_rate has no effect"):
        recipe.with_values({"step_learning_rate": 3})
    with pytest.warns(UserWarning, match="image_learning_rate has no effect"):
        find_recipe("ld", images_per_class=10).with_values({"image_learning_rate": 3})
    recipe.with_values({"label_learning_rate": 3, "labels": "soft"})


def test_what_is_learned(recipe):
    assert recipe.learned == ("images",)
    assert recipe.with_values({"labels": "soft"}).learned == ("images", "labels")
    assert find_recipe("mtt", images_per_class=1).learned == ("images", "step size")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [("learn_step_size", "false", False), ("step_size", "0.05", 0.05), ("step_sizes", "each", "each")],
)
def test_step_sizes_are_read_where_a_method_trains_by_them(name, value, read):
    assert find_recipe("mtt", images_per_class=1).with_values({name: value}).values()[name] == read


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["learn_step_size=true", "step_sizes=each"])
def test_step_sizes_are_refused_where_nothing_trains_by_them(name, value):
    changes = dict([value.split("=")])
    recipe = find_recipe(name, images_per_class=1)
    if recipe.uses_step_size:
        assert recipe.with_values(changes).uses_step_size
        return
    told = f"recipe {name} does not train by the set's step size, so it takes no {value}; .* are .*dd, .*mtt, .*sldd, .*tesla"
    with pytest.raises(ValueError, match=told):
        recipe.with_values(changes)


def test_a_step_size_that_nothing_trains_by_warns(recipe):
    with pytest.warns(UserWarning, match="step_size has no effect: recipe dc does not train by it"):
        recipe.with_values({"step_size": 0.5})
    recipe.with_values({"step_size": recipe.step_size})
    find_recipe("mtt", images_per_class=1).with_values({"step_size": 0.5})


class Around:
    """A method around another, which only adds a value."""

    def __init__(self, *, inner, real, weight=0.5):
        self.inner, self.real, self.weight = inner, real, weight


def test_a_method_inside_a_method_keeps_its_values(recipe):
    outer = dataclasses.replace(recipe, method=functools.partial(Around, inner=recipe.method))
    assert {**recipe.values(), "weight": 0.5} == outer.values()
    changed = outer.with_values({"weight": "0.25", "batch_size": "7"})
    assert changed.values() == {**recipe.values(), "weight": 0.25, "batch_size": 7}
    assert changed.uses_step_size == recipe.uses_step_size
    method = built(changed.method, real="real", new_network=None, augment=recipe.augment, experts=None)
    assert (method.weight, method.inner.batch_size, method.inner.real) == (0.25, 7, "real")


def test_labels_of_a_teacher_bring_one_along(recipe):
    assert recipe.experts is None
    taught = recipe.with_values({"labels": "teacher", "temperature": "2", "training_epochs": "3"})
    assert taught.values()["temperature"] == 2.0
    assert taught.experts.training_epochs == 3
    assert taught.learned == recipe.learned
    assert recipe.with_values({"initialise": "recognised"}).experts is not None


def test_a_teacher_leaves_with_what_asked_it(recipe):
    assert recipe.with_values({"labels": "teacher"}).with_values({"labels": "hard"}) == recipe
    mtt = find_recipe("mtt", images_per_class=1)
    assert mtt.with_values({"labels": "teacher"}).with_values({"labels": "hard"}).experts == mtt.experts


def test_a_recipe_that_learns_nothing_is_refused(recipe):
    class LabelsAlone(Around):
        learns_images = False

    with pytest.raises(ValueError, match="its labels must be learned, as soft are"):
        dataclasses.replace(recipe, method=LabelsAlone)
