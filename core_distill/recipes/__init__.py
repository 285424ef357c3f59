"""One function a paper that returns a complete, frozen `Recipe`; and `condense`, which runs one."""

from collections.abc import Callable

from core_distill.recipes.condense import Plan, condense, initial_set, new_optimizer, prepare
from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.gradient_matching import dc, dsa
from core_distill.recipes.recipe import LABEL_MODES, PARAMETRISATIONS, Recipe
from core_distill.recipes.schedules import Schedule

RECIPES: dict[str, Callable[..., Recipe]] = {"dc": dc, "dm": dm, "dsa": dsa}


def find_recipe(name: str, *, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """The recipe called `name`; `ValueError` listing the known ones where there is none."""
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name](images_per_class=images_per_class, data=data, schedule=schedule)


__all__ = [
    "LABEL_MODES",
    "PARAMETRISATIONS",
    "RECIPES",
    "Plan",
    "Recipe",
    "Schedule",
    "condense",
    "dc",
    "dm",
    "dsa",
    "find_recipe",
    "initial_set",
    "new_optimizer",
    "prepare",
]
