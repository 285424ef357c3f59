"""Every value that a recipe may have is documented where it is taken."""

import pytest

from core_distill.networks import NETWORKS
from core_distill.recipes import IMAGE_STARTS, LABEL_MODES, RECIPES, find_recipe
from core_distill.recipes.meanings import meanings


def undocumented(recipe):
    found = meanings(recipe)
    return sorted(name for name in recipe.values() if not found.get(name, "").strip())


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_value_of_a_recipe(name):
    assert undocumented(find_recipe(name, images_per_class=10)) == []


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        *(("images", kind) for kind in sorted(IMAGE_STARTS)),
        *(("labels", kind) for kind in sorted(LABEL_MODES)),
        *(("network", kind) for kind in sorted(NETWORKS)),
        ("batches", "representative"),
    ],
)
def test_every_value_that_another_part_brings_along(part, kind):
    name = "dc" if part == "batches" else "sldd"
    assert undocumented(find_recipe(name, images_per_class=10).with_values({part: kind})) == []


def test_a_method_inside_a_method_comes_with_its_own():
    found = meanings(find_recipe("datm", images_per_class=10))
    assert found["growth_steps"].startswith("losses until the range has grown to max_start")
    assert found["expert_epochs"]


def test_what_is_documented_together_has_one_meaning():
    found = meanings(find_recipe("haba", images_per_class=10))
    assert found["adversary_rate"] == found["adversary_momentum"] == "of the second player's steps."
    assert found["single_channel"] == "bases are the mean over channels."
