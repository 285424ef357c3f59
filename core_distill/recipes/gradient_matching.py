"""DC's and DSA's values."""

import functools

from core_distill.augment import dsa_for, no_augment
from core_distill.methods import GradientMatching
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget
from core_distill.synthetic.initialise import clustered_images, noise, real_images

_NETWORKS = 1_000
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""Outer steps and inner epochs by images per class, from the released code; other budgets take the next smaller entry."""


def dc(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DC (arXiv 2006.05929): noise initialisation, no augmentation. `data` changes nothing."""
    recipe = _paper(images_per_class)
    if is_paper(schedule):
        return recipe
    changed = recipe.with_values({"steps": 300, "batch_size": 64, "inner_epochs": 5, "image_learning_rate": 1.0})
    return changed.because("CPU schedule: 300 steps, batch 64, 5 inner epochs, SGD 1.0, untuned; else as released")


def dsa(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DSA (arXiv 2102.08259): DC with siamese augmentation, started at real images.

    `data` is the data set's name: mirrored digits are not digits, so MNIST, SVHN and digits go without flips.
    """
    recipe = _paper(images_per_class).renamed(
        "dsa", paper="Dataset Condensation with Differentiable Siamese Augmentation, arXiv 2102.08259"
    )
    recipe = recipe.with_values({"augment": ",".join(dsa_for(data).operations), "initialise": real_images})
    return recipe if is_paper(schedule) else _hurried(recipe)


def _paper(images_per_class: int) -> Recipe:
    outer, inner = _LOOPS[nearest_budget(_LOOPS, images_per_class)]
    return Recipe(
        name="dc",
        paper="Dataset Condensation with Gradient Matching, arXiv 2006.05929",
        source="released code: 1,000 networks, batch 256, SGD 0.1 momentum 0.5, outer steps and inner epochs by budget",
        method=functools.partial(GradientMatching, batch_size=256, outer_steps=outer, inner_epochs=inner),
        images_per_class=images_per_class,
        steps=_NETWORKS * outer,
        augment=no_augment,
        initialise=noise,
        image_learning_rate=0.1,
    )


def _hurried(recipe: Recipe) -> Recipe:
    """DSA's CPU schedule."""
    changed = recipe.with_values(
        {
            "steps": 300,
            "batch_size": 64,
            "inner_epochs": 10,
            "learning_rate": 0.05,
            "image_learning_rate": 0.3,
            "decay": "cosine",
            "initialise": clustered_images,
        }
    )
    return changed.because(
        "CPU schedule: 300 steps down a cosine, batch 64, 10 inner epochs at a rate of 0.05 (on Fashion-MNIST's validation part "
        "after six minutes, in one run each: 82.7, with 0.1 as well, with the released 0.01 82.0), SGD 0.3 (of 0.1, 0.3 and 1 the "
        "best there, from random real images with 25 inner epochs at 0.01), started at the real images nearest to cluster "
        "centres; else as released"
    )
