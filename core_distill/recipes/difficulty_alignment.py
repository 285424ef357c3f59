"""DATM's values."""

import dataclasses
import functools
from typing import Any, NamedTuple

from core_distill.methods import DifficultyAlignment
from core_distill.recipes.flat_trajectories import CPU_SOURCE, CPU_TRAINING, RADIUS
from core_distill.recipes.labels import soft_teacher
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget, told_of
from core_distill.recipes.trajectory_matching import TABLED, WHITENED, mtt
from core_distill.synthetic.initialise import real_images, recognised_images
from core_distill.training.expert_settings import ExpertTraining

_GAP_WEIGHT = 0.3
_EXPERTS = ExpertTraining(
    num_experts=100,
    training_epochs=100,
    training_rate=0.01,
    training_batch_size=256,
    training_radius=RADIUS,
    training_gap_weight=_GAP_WEIGHT,
)
_MOMENTUM, _LABEL_MOMENTUM = 0.5, 0.9


class _Values(NamedTuple):
    """What a file of the released settings says; where a range does not grow, it is its last one from the start."""

    min_start: int
    first_max_start: int
    max_start: int
    growth_steps: int
    image_learning_rate: float
    label_learning_rate: float
    batch_size: int
    inner_steps: int = 80
    expert_epochs: int = 2
    step_learning_rate: float = 1e-5
    loss_limit: float = 1.0


_CIFAR10 = {
    1: _Values(0, 4, 4, 0, 100.0, 5.0, 10, step_learning_rate=1e-7, loss_limit=1.1),
    10: _Values(0, 10, 20, 1000, 100.0, 2.0, 100),
    50: _Values(0, 20, 40, 2000, 1000.0, 2.0, 500),
    500: _Values(40, 60, 60, 0, 50.0, 10.0, 1000, inner_steps=40),
    1000: _Values(40, 60, 60, 0, 50.0, 10.0, 1000, inner_steps=100),
}
_CIFAR100 = {
    1: _Values(0, 10, 20, 1000, 1000.0, 10.0, 1000, inner_steps=40, expert_epochs=3),
    10: _Values(0, 30, 50, 2000, 1000.0, 10.0, 1000),
    50: _Values(20, 70, 70, 0, 1000.0, 10.0, 1000),
    100: _Values(30, 70, 70, 0, 50.0, 10.0, 1000),
}
_STARTS_ANYWHERE = [("cifar100", 50)]
"""Data and budgets whose released settings start at any real images."""


def datm(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DATM (arXiv 2310.05773): FTD's experts, later epochs for larger sets, learned labels.

    The data set `data` chooses the values, and the augmentation; budgets between the published ones take the next smaller.
    """
    table = _CIFAR100 if data == "cifar100" else _CIFAR10
    budget = nearest_budget(table, images_per_class)
    label_rate = table[budget].label_learning_rate * (1 - _MOMENTUM) / (1 - _LABEL_MOMENTUM)
    values = table[budget]._replace(label_learning_rate=round(label_rate, 6))._asdict()
    base = mtt(images_per_class=images_per_class, data=data, schedule=schedule)
    inner: Any = base.method  # a partial; `built` makes both methods at once
    recipe = dataclasses.replace(
        base,
        name="datm",
        paper="Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, arXiv 2310.05773",
        method=functools.partial(DifficultyAlignment, inner=inner),
        labels=soft_teacher,
        initialise=real_images if (data, budget) in _STARTS_ANYWHERE else recognised_images,
        momentum=_MOMENTUM,
    )
    return _full(recipe, values, data) if is_paper(schedule) else _small(recipe, values)


def _full(recipe: Recipe, values: dict[str, float], data: str) -> Recipe:
    changed = dataclasses.replace(recipe, experts=_EXPERTS).with_values(values | {"steps": 10_000, "step_size": 0.01})
    asked = "of those that are right" if recipe.initialise is recognised_images else "of the first alone"
    return changed.because(
        f"{told_of(data, TABLED)}the released settings, 10,000 steps, 100 experts of 100 epochs (rho {RADIUS}, alpha "
        f"{_GAP_WEIGHT}); {WHITENED}. Labels have momentum {_MOMENTUM} as the images (published {_LABEL_MOMENTUM}) at 5 "
        f"times their published rate, which goes as far; they start at the mean of all experts' logits (published: {asked}), and "
        "images at ones that this mean recognises (published: that the first expert does). An update above "
        "the loss limit keeps its momentum. Evaluation does not use the learned step size"
    )


def _small(recipe: Recipe, values: dict[str, float]) -> Recipe:
    kept = {name: values[name] for name in ("label_learning_rate", "loss_limit")}
    training: dict[str, float] = {"training_radius": RADIUS, "training_gap_weight": _GAP_WEIGHT, **CPU_TRAINING}
    own: dict[str, float] = {"min_start": 0, "first_max_start": 4, "growth_steps": 50, "temperature": 0.1}
    return recipe.with_values(kept | training | own).because(
        f"{CPU_SOURCE}; start epochs below 4, which grow to those below 8 in 50 steps; labels start at the experts' logits "
        "divided by 0.1, since after 10 short epochs they are sure of nothing (1, as published, was worse on digits, "
        "validation); otherwise untuned; else as published"
    )
