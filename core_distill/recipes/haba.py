"""HaBa's values."""

import dataclasses
import functools
from collections.abc import Callable

from core_distill.methods.adversarial import Adversarial
from core_distill.recipes.optimizers import adam
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget, told_of
from core_distill.recipes.trajectory_matching import WHITENED, mtt
from core_distill.synthetic.hallucinated_bases import HallucinatedBases
from core_distill.types import Method

_around: Callable[..., Method] = Adversarial
_PAPER = "Dataset Distillation via Factorization, arXiv 2210.16774"
_DATA = ("cifar10",)
_MOMENTUM, _STEP_MOMENTUM = 0.95, 0.9
_STARTS = {1: (50, 2, 1e-7, 0.01), 10: (30, 20, 1e-5, 0.001), 50: (30, 20, 1e-5, 0.01)}
"""Inner steps, max_start, the rate of the step size and its start, by bases a class."""


def haba(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """HaBa (arXiv 2210.16774) around MTT. `data` as for `mtt`; `images_per_class` is the budget, hallucinators among it."""
    base = mtt(images_per_class=images_per_class, data=data, schedule=schedule)
    recipe = dataclasses.replace(
        base.renamed("haba", paper=_PAPER),
        method=functools.partial(_around, inner=base.method),
        images=functools.partial(HallucinatedBases.starting_at, hallucinators=5),
        momentum=_MOMENTUM,
    )
    return _paper(recipe, data) if is_paper(schedule) else _cpu(recipe)


def _cpu(recipe: Recipe) -> Recipe:
    values = {
        "steps": 70,
        "near_identity": True,
        "optimizer": adam,
        "momentum": 0.9,
        "image_learning_rate": 0.01,
        "step_learning_rate": 2e-4,
    }
    return recipe.with_values(values).because(
        "CPU schedule: 70 steps of Adam 0.01 (SGD 100 diverges there, SGD 0.01 and Adam 0.01 were tried on digits' validation "
        "part), hallucinators start near showing bases as they are; experts and inner steps as in the CPU schedule of mtt; 5 "
        "hallucinators and the second player's values as released"
    )


def _paper(recipe: Recipe, data: str) -> Recipe:
    images_per_class = recipe.images_per_class
    bases = nearest_budget(_STARTS, images_per_class - 1)  # hallucinators are paid for out of the budget
    inner_steps, max_start, step_rate, step_size = _STARTS[bases]
    values = {
        "steps": 15_000,
        "inner_steps": inner_steps,
        "expert_epochs": 2,
        "max_start": max_start,
        "batch_size": images_per_class * (100 if data == "cifar100" else 10),
        "image_learning_rate": 100.0,
        "step_learning_rate": float(f"{step_rate * (1 - _MOMENTUM) / (1 - _STEP_MOMENTUM):.3g}"),
        "step_size": step_size,
    }
    return recipe.with_values(values).because(
        f"{told_of(data, _DATA)}released scripts: 15,000 steps, 5 hallucinators, inner steps, max_start and step size by bases "
        "a class (1, 10, 50), SGD 100 momentum 0.95 on bases and hallucinators, extractor SGD 0.001 momentum 0.9, weights 0.1 "
        "beside a cross-entropy of 1, temperature 0.07, real initialisation, experts as for mtt; departs: hallucinators are "
        "paid for out of the budget, so theirs of 1, 10 and 50 bases are 2, 11 and 51 here; an inner step draws as many views "
        "as the budget has images from all bases and hallucinators, not one hallucinator's view of every base; the extractor is "
        "the recipe's network (theirs is the same ConvNet); step sizes have momentum 0.95 (published 0.9) at half "
        "their published rate, which goes as far, and stop at 1e-6, not 0.001; "
        f"{WHITENED}"
    )
