"""MTT's and TESLA's values."""

import functools
from typing import NamedTuple

from core_distill.augment import dsa_for
from core_distill.methods import TrajectoryMatching
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget, told_of
from core_distill.training.expert_settings import ExpertTraining


class _Values(NamedTuple):
    inner_steps: int
    expert_epochs: int
    max_start: int
    image_rate: float
    step_rate: float
    step_size: float
    batch_size: int = 0
    whitened: bool = False


_CIFAR10 = {
    1: _Values(50, 2, 2, 100.0, 1e-7, 0.01, whitened=True),
    10: _Values(30, 2, 20, 100.0, 1e-5, 0.001, whitened=True),
    50: _Values(30, 2, 40, 1000.0, 1e-5, 0.001),
}
_CIFAR100 = {
    1: _Values(20, 3, 20, 1000.0, 1e-5, 0.01, whitened=True),
    10: _Values(20, 2, 20, 1000.0, 1e-5, 0.01),
    50: _Values(80, 2, 40, 1000.0, 1e-5, 0.01, batch_size=125, whitened=True),
}
_MTT_STEPS = "5,000 steps, "
_LOST = "here 500, because the released code loses a factor 2 of the gradient"
WHITENED = "published on whitened images, which only --whiten 0.1 gives"
TABLED = ("cifar10", "cifar100")
"""The data for which values of matching trajectories are published in tables."""

_STEPS, _TESLA_STEPS = 5_000, 10_000
_EXPERTS = ExpertTraining(num_experts=100, training_epochs=50, training_rate=0.01, training_batch_size=256)


def mtt(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """MTT (arXiv 2203.11932): the data set `data` chooses the values, and the augmentation (no flips of digits).

    Budgets between the published ones take the next smaller.
    """
    return _scheduled(_paper(images_per_class, data), schedule)


def tesla(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """TESLA (arXiv 2211.10586): MTT with each inner step's gradient taken on its own batch alone. `data` as for `mtt`."""
    recipe = _paper(images_per_class, data)
    source = (
        "the released 10,000 steps; else MTT's values, since TESLA's are known to us for CIFAR-10 at 1 and CIFAR-100 at 50 "
        f"images a class: {recipe.source.replace(_MTT_STEPS, '')}"
    )
    changes: dict[str, object] = {"truncated": True, "steps": _TESLA_STEPS}
    if images_per_class < 10 and data != "cifar100":
        changes |= {"max_start": 5, "image_learning_rate": 500.0}
        source = (
            f"{told_of(data, TABLED)}released example: 10,000 steps, 50 inner steps, 2 expert epochs, max_start 5, SGD 1000 on "
            f"pixels, {_LOST}, published without whitening (but of its experts), which are 100 of 50 epochs; evaluation does not "
            "use the learned step size"
        )
    if images_per_class >= 50 and data == "cifar100":
        changes |= {"image_learning_rate": 500.0}
        source = (
            f"released example: 10,000 steps, SGD 1000 on pixels, {_LOST}, 80 inner steps on 125 images, 2 expert epochs, "
            f"max_start 40, step size from 0.01 at 0.00001, 100 experts of 50 epochs; {WHITENED}; evaluation does not use the "
            "learned step size"
        )
    renamed = recipe.with_values(changes).renamed(
        "tesla", paper="Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, arXiv 2211.10586"
    )
    return _scheduled(renamed.because(source), schedule)


def _paper(images_per_class: int, data: str) -> Recipe:
    table = _CIFAR100 if data == "cifar100" else _CIFAR10
    values = table[nearest_budget(table, images_per_class)]
    return Recipe(
        name="mtt",
        paper="Dataset Distillation by Matching Training Trajectories, arXiv 2203.11932",
        source=f"{told_of(data, TABLED)}values as listed by DC-BENCH, {_MTT_STEPS}100 experts of 50 epochs; "
        f"{f'{WHITENED}; ' if values.whitened else ''}evaluation does not use the learned step size",
        method=functools.partial(
            TrajectoryMatching,
            inner_steps=values.inner_steps,
            expert_epochs=values.expert_epochs,
            max_start=values.max_start,
            batch_size=values.batch_size,
        ),
        images_per_class=images_per_class,
        steps=_STEPS,
        augment=dsa_for(data),
        image_learning_rate=values.image_rate,
        step_size=values.step_size,
        learn_step_size=True,
        step_learning_rate=values.step_rate,
        experts=_EXPERTS,
    )


def _scheduled(recipe: Recipe, schedule: Schedule) -> Recipe:
    if is_paper(schedule):
        return recipe
    changed = recipe.with_values(
        {
            "steps": 100,
            "num_experts": 4,
            "training_epochs": 10,
            "training_images": 4_000,
            "training_rate": 0.02,
            "inner_steps": 8,
            "expert_epochs": 1,
            "max_start": 8,
            "batch_size": 50,
            "image_learning_rate": 100.0,
            "step_size": 0.02,
            "step_learning_rate": 1e-5,
        }
    )
    return changed.because(
        "CPU schedule: 4 experts of 10 epochs of 4,000 images at rate 0.02; 100 steps of 8 inner steps on 50 images for 1 "
        "epoch, max_start 8, SGD 100 on pixels (1000 was worse on digits, validation), step size from 0.02; else as published, "
        "whitening apart"
    )
