"""DCC's and DSAC's values."""

import functools

from core_distill.augment import dsa_for
from core_distill.methods.class_summed import ClassSummedMatching
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, nearest_budget
from core_distill.synthetic.initialise import real_images

_NETWORKS = 1_000
_LOOPS = {1: (10, 5), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""Losses a network and epochs between them by images per class, from the released code; others take the next smaller."""


def dcc(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DCC (arXiv 2202.02916): one gradient of all classes, no augmentation. `data` changes nothing."""
    return _scheduled(_paper(images_per_class), schedule)


def dsac(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DSAC (arXiv 2202.02916): DCC with siamese augmentation; `data` as for `dsa`, mirrored digits are not digits."""
    recipe = _paper(images_per_class).renamed("dsac", paper=_PAPER)
    return _scheduled(recipe.with_values({"augment": ",".join(dsa_for(data).operations)}), schedule)


_PAPER = "Dataset Condensation with Contrastive Signals, arXiv 2202.02916"


def _paper(images_per_class: int) -> Recipe:
    outer, inner = _LOOPS[nearest_budget(_LOOPS, images_per_class)]
    return Recipe(
        name="dcc",
        paper=_PAPER,
        source="released code (CIFAR, ImageNet groups): 1,000 networks, of which the first 250 warm up class by class, batch "
        "256, SGD 0.1 momentum 0.5, losses a network and epochs between them by budget",
        method=functools.partial(
            ClassSummedMatching,
            batch_size=256,
            outer_steps=outer,
            inner_epochs=inner,
            outer_warmup=250,
            inner_warmup=10,
        ),
        images_per_class=images_per_class,
        steps=_NETWORKS * outer,
        initialise=real_images,
        image_learning_rate=0.1,
    )


def _scheduled(recipe: Recipe, schedule: Schedule) -> Recipe:
    if is_paper(schedule):
        return recipe
    changed = recipe.with_values(
        {
            "steps": 300,
            "batch_size": 64,
            "outer_steps": 10,
            "inner_epochs": 5,
            "outer_warmup": 7,
            "image_learning_rate": 1.0,
        }
    )
    return changed.because(
        "CPU schedule: 300 steps, 10 losses a network, a warm-up of 7 of its 30 networks, batch 64, 5 inner epochs, SGD 1.0, "
        "untuned; else as released"
    )
