"""Recipes of the user's own by `FILE.py:FUNCTION`, wherever a recipe's name goes."""

import pytest

from core_distill.recipes import RECIPES, Recipe, find_recipe, own_recipe, typed_recipe

FILE = """
from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from core_distill.recipes import dm

asked = []


@dataclass(frozen=True, kw_only=True)
class Twice:
    real: object
    new_network: object
    losses: int = 2

    def episode(self, synthetic, generator):
        for _ in range(self.losses):
            yield synthetic.batch(generator=generator).images.square().mean()


def mine(**values):
    asked.append(values)
    return dataclasses.replace(dm(**values), name="mine", paper="none", source="none", method=Twice)


def nothing(**values):
    return None


number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(FILE)
    return path


def test_the_function_is_asked_as_the_librarys_are(file):
    found = typed_recipe(f"{file}:mine", images_per_class=3, data="digits", schedule="cpu")
    assert isinstance(found, Recipe)
    assert (found.name, found.images_per_class, found.values()["losses"]) == ("mine", 3, 2)
    assert found.with_values({"losses": "4"}).values()["losses"] == 4
    again = typed_recipe(f"{file}:mine", images_per_class=3, data="digits", schedule="cpu")
    assert again == found, "the file runs once, so that its classes stay the same"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{folder}/absent.py:mine", "there is no file"),
        ("{folder}/own.py", "names no function: a recipe of one's own is FILE.py:FUNCTION"),
        ("{folder}/own.py:", "names no function"),
        ("{folder}/own.py:other", "names no function"),
        ("{folder}/own.py:number", "names no function"),
        ("{folder}/own.py:nothing", "returned a NoneType, where a Recipe is needed"),
    ],
)
def test_what_is_no_recipe_is_told(file, name, told):
    with pytest.raises(ValueError, match=told):
        typed_recipe(name.format(folder=file.parent), images_per_class=1)


def test_a_name_that_came_in_a_message_runs_no_file(tmp_path):
    """As a server's request does, `find_recipe` alone looks it up."""
    (tmp_path / "own.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match=r"no recipe is called '.*own\.py:mine'; known: "):
        find_recipe(f"{tmp_path}/own.py:mine", images_per_class=1)


def test_errors_of_the_file_are_its_own(tmp_path):
    (tmp_path / "broken.py").write_text("absent")
    with pytest.raises(NameError, match="absent"):
        own_recipe(f"{tmp_path}/broken.py:mine")


def test_every_recipe_is_called_by_its_name():
    """Folders of runs are named by what a recipe is called."""
    assert {name: make(images_per_class=1).name for name, make in RECIPES.items()} == {name: name for name in RECIPES}
