"""What the values of a recipe mean, read from where they are documented: the `Args` of the classes and functions that take them."""

import inspect
import re
from collections.abc import Callable
from typing import Any

from core_distill.partials import fixed, wrapped
from core_distill.recipes.recipe import PARTS, Recipe

_SECTION = re.compile(r"^Args:\n(.*?)(?:\n\n|\n(?=\S)|\Z)", re.DOTALL | re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def meanings(recipe: Recipe) -> dict[str, str]:
    """One line for each of `recipe.values()`; of those that are documented together, the same one. Python's -OO leaves none."""
    parts: list[Any] = [recipe.method]
    while "inner" in fixed(parts[-1]):
        parts.append(fixed(parts[-1])["inner"])
    parts += [getattr(recipe, part) for part in PARTS]
    if recipe.experts:
        parts.append(type(recipe.experts))
    found: dict[str, str] = {}
    for part in [*parts, Recipe]:
        found = _documented(wrapped(part)) | found
    return {name: found[name] for name in recipe.values() if name in found}


def _documented(target: Callable[..., object]) -> dict[str, str]:
    section = _SECTION.search(inspect.getdoc(target) or "")
    entries = _ENTRY.findall(section.group(1)) if section else []
    return {
        name.strip(): " ".join(text.replace("`", "").split()) for names, text in entries for name in names.split(",")
    }
