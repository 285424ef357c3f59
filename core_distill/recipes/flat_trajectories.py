"""FTD's values: MTT on experts that seek flat minima, and what other recipes on such experts share."""

from typing import NamedTuple

from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget, told_of
from core_distill.recipes.trajectory_matching import TABLED, mtt

RADIUS = 0.01
"""FTD's rho in its released command, and DATM's; the default of the code is 2."""

CPU_TRAINING: dict[str, float] = {"training_images": 2_000, "training_batch_size": 128}
CPU_SOURCE = (
    "CPU schedule: that of mtt, with experts of 2,000 images an epoch in batches of 128, as many steps as mtt's at the same cost, "
    "since flat minima take two gradients a step"
)


class _Values(NamedTuple):
    """A column of FTD's table 7."""

    inner_steps: int
    expert_epochs: int
    max_start: int
    image_learning_rate: float
    step_learning_rate: float
    step_size: float
    training_gap_weight: float
    average: float
    batch_size: int = 0


_CIFAR10 = {
    1: _Values(50, 2, 2, 100.0, 1e-7, 0.01, 0.3, 0.9999),
    10: _Values(30, 2, 20, 100.0, 1e-5, 0.001, 0.3, 0.9995),
    50: _Values(30, 2, 40, 1000.0, 1e-5, 0.01, 1.0, 0.999),
}
_CIFAR100 = {
    1: _Values(40, 3, 20, 1000.0, 1e-5, 0.01, 1.0, 0.9995),
    10: _Values(20, 2, 40, 1000.0, 1e-5, 0.01, 1.0, 0.9995),
    50: _Values(80, 2, 40, 1000.0, 1e-5, 0.01, 1.0, 0.999, batch_size=1000),
}


def ftd(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """FTD (arXiv 2211.11004): MTT on experts trained towards flat minima, released as the average over steps.

    The data set `data` chooses the values, and the augmentation; budgets between the published ones take the next smaller.
    """
    table = _CIFAR100 if data == "cifar100" else _CIFAR10
    values = table[nearest_budget(table, images_per_class)]
    recipe = mtt(images_per_class=images_per_class, data=data, schedule=schedule).renamed(
        "ftd", paper="Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation, arXiv 2211.11004"
    )
    training = {"training_radius": RADIUS, "training_gap_weight": values.training_gap_weight}
    if not is_paper(schedule):
        changed = recipe.with_values(training | CPU_TRAINING | {"average": 0.9})
        return changed.because(
            f"{CPU_SOURCE}; the average's decay is 0.9, for 100 steps; untuned; else as published, whitening apart"
        )
    return recipe.with_values(values._asdict() | training).because(
        f"{told_of(data, TABLED)}table 7 of the paper, rho {RADIUS} of the released command, 5,000 steps, 100 experts of 50 "
        "epochs; those commands, of 10 images a class, whiten the images, which only --whiten 0.1 does; the step size is averaged "
        "as the images are, and evaluation does not use it"
    )
