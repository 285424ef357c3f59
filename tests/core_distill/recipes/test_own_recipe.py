"""Recipes of the user's own by `FILE.py:FUNCTION`, wherever a recipe's name goes."""

import sys

import pytest

from core_distill.recipes import RECIPES, Recipe, find_recipe, typed_recipe

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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("absent", "NameError: name 'absent' is not defined"),
        ("def mine(", "SyntaxError"),
        ("def mine(images_per_class): pass", "TypeError: .*unexpected keyword argument"),
        ("def mine(**values): raise ValueError('of mine')", "^of mine$"),
    ],
)
def test_what_fails_in_the_file_is_told_as_the_users(text, told, tmp_path):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(ValueError, match=told):
        typed_recipe(f"{tmp_path}/broken.py:mine", images_per_class=1)


def test_a_name_that_came_in_a_message_runs_no_file(tmp_path, monkeypatch):
    """It goes to `find_recipe`, which takes no file for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("raise SystemExit")
    with pytest.raises(ValueError, match=r"no recipe is called 'own\.py:mine'; known: "):
        find_recipe("own.py:mine", images_per_class=1)


def test_a_file_that_changed_makes_another_recipe(tmp_path):
    """A run does not go on with it, as its source says the file's digest."""
    sources = []
    for number, text in enumerate((FILE, FILE + "\n# changed")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "own.py").write_text(text)
        made = typed_recipe(f"{tmp_path}/{number}/own.py:mine", images_per_class=1)
        sources.append(made.describe()["source"])
    assert [source.split("(own.py, SHA-256 ")[0] for source in sources] == ["none ", "none "]
    assert sources[0] != sources[1]


def test_files_of_one_name_are_two_modules(tmp_path):
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(FILE)
        found.append(typed_recipe(f"{tmp_path}/{folder}/own.py:mine", images_per_class=1).method)
    assert found[0] is not found[1]
    assert all(sys.modules[method.__module__].Twice is method for method in found)


def test_every_recipe_is_called_by_its_name():
    """Folders of runs are named by what a recipe is called."""
    assert {name: make(images_per_class=1).name for name, make in RECIPES.items()} == {name: name for name in RECIPES}
