"""The values of multi-level gradient matching."""

import functools

from core_distill.methods.multilevel import MultilevelMatching
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget
from core_distill.synthetic.initialise import noise

_NETWORKS = 1_000
_LOSSES = {1: 1, 10: 10, 20: 20, 30: 30, 40: 40, 50: 50}
"""Losses a network by images per class, from the released code; other budgets take the next smaller entry."""


def multilevel(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """Jiang et al. (arXiv 2208.00311), all three parts: "Ours-MDA" of the released code. `data` changes nothing."""
    recipe = _paper(images_per_class)
    if is_paper(schedule):
        return recipe
    changed = recipe.with_values(
        {
            "steps": 300,
            "batch_size": 64,
            "outer_steps": 10,
            "inner_schedule": (5, 4, 3, 2, 1),
            "image_learning_rate": 1.0,
        }
    )
    return changed.because(
        "CPU schedule: 300 steps, 10 losses a network, batch 64, inner epochs 5, 4, 3, 2 and then 1 (a tenth), SGD 1.0, "
        "untuned; else as released"
    )


def _paper(images_per_class: int) -> Recipe:
    losses = _LOSSES[nearest_budget(_LOSSES, images_per_class)]
    return Recipe(
        name="multilevel",
        paper="Delving into Effective Gradient Matching for Dataset Condensation, arXiv 2208.00311",
        source="released code: 1,000 networks, batch 256, SGD 0.1 momentum 0.5, losses a network by budget, inner epochs 50, "
        "40, 30, 20, six times 10 and then 5, networks trained with momentum 0.5, which here starts anew after each loss",
        method=functools.partial(MultilevelMatching, batch_size=256, outer_steps=losses),
        images_per_class=images_per_class,
        steps=_NETWORKS * losses,
        initialise=noise,
        image_learning_rate=0.1,
    )
