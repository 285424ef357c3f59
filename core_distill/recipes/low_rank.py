"""The low-rank plug-in's values, around DM."""

import dataclasses
import functools

from core_distill.augment import no_augment
from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper
from core_distill.synthetic.initialise import noise, real_images
from core_distill.synthetic.low_rank import LowRank

_PAPER = "An Efficient Dataset Condensation Plugin and Its Application to Continual Learning, NeurIPS 2023, openreview Murj6wcjRw"
_GREY = ("digits", "fashion-mnist", "mnist")


def low_rank(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """LoDM (Yang et al., NeurIPS 2023): DM on images of low rank; of rank 2, seven of 28 x 28 for the bytes of one.

    `data` is the data set's name, as for `dm`.
    """
    base = dm(images_per_class=images_per_class, data=data)
    recipe = dataclasses.replace(base.renamed("low-rank", paper=_PAPER), images=_images(2))
    return _paper(recipe, data) if is_paper(schedule) else _cpu(recipe)


def _images(rank: int) -> functools.partial[LowRank]:
    return functools.partial(LowRank.starting_at, rank=rank)


def _paper(recipe: Recipe, data: str) -> Recipe:
    grey, few = data in _GREY, recipe.images_per_class < 10
    many = recipe.images_per_class >= 50
    changed = dataclasses.replace(
        recipe,
        images=_images(2 if few or data == "digits" or not (grey or many) else 8 if grey else 4),
        augment=no_augment if grey and not few else recipe.augment,
        initialise=noise,
        image_learning_rate=1000.0 if many and not grey else 1.0,
    )
    return changed.because(
        f"{'' if data in ('cifar10', 'cifar100', 'mnist') else 'nothing is published for this data; '}released settings: 20,000 "
        "steps, batch 256, momentum 0.5, noise; CIFAR rank 2 and SGD 1.0, from 50 images a class (CIFAR-10's) rank 4 and SGD 1000; "
        "MNIST rank 2 with DSA (and flips, which are left out), from 10 images rank 8 without (digits, too small for it, rank 2); "
        "departs: the noise is in the images, whose best approximations are taken, not in both matrices, which makes images three "
        "times as large"
    )


def _cpu(recipe: Recipe) -> Recipe:
    values = {"steps": 250, "batch_size": 64, "initialise": real_images, "image_learning_rate": 3.0}
    return recipe.with_values(values).because(
        "CPU schedule: rank 2, 250 steps, batch 64, approximations of real images, SGD 3 (1, 3 and 30 were tried on digits' "
        "validation part); momentum and augmentation as released"
    )
