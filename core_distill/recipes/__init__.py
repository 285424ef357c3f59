"""One function a paper that returns a complete, frozen `Recipe`; and `condense`, which runs one."""

from collections.abc import Callable

from core_distill.recipes.condense import (
    Plan,
    condense,
    initial_set,
    new_optimizer,
    new_scheduler,
    prepare,
)
from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.experts import expert_folder_name, train_experts_for
from core_distill.recipes.gradient_matching import dc, dsa
from core_distill.recipes.kernel_regression import frepo
from core_distill.recipes.recipe import LABEL_MODES, Recipe
from core_distill.recipes.schedules import Schedule
from core_distill.recipes.trajectory_matching import mtt, tesla
from core_distill.recipes.unrolled import dd, sldd
from core_distill.synthetic.kinds import PARAMETRISATIONS

RECIPES: dict[str, Callable[..., Recipe]] = {
    "dc": dc,
    "dd": dd,
    "dm": dm,
    "dsa": dsa,
    "frepo": frepo,
    "mtt": mtt,
    "sldd": sldd,
    "tesla": tesla,
}


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
    "dd",
    "dm",
    "dsa",
    "expert_folder_name",
    "find_recipe",
    "frepo",
    "initial_set",
    "mtt",
    "new_optimizer",
    "new_scheduler",
    "prepare",
    "sldd",
    "tesla",
    "train_experts_for",
]
