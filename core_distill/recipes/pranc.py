"""PRANC's values, for images: DM on coefficients of a pseudo-random basis."""

import dataclasses
import functools

from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper
from core_distill.synthetic.random_basis import RandomBasis

_PAPER = "PRANC: Pseudo RAndom Networks for Compacting deep models, arXiv 2206.08464"


def pranc(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """PRANC's idea (arXiv 2206.08464) for images: a seed and coefficients are stored, matched as by DM.

    Networks themselves are compressed so by `core_distill.training.pranc.compress`. `data` is the data set's name, as for
    `dm`.
    """
    base = dm(images_per_class=images_per_class, data=data)
    images = functools.partial(RandomBasis.starting_at, compression=2, smoothness=1.5)
    paper = dataclasses.replace(base.renamed("pranc", paper=_PAPER), images=images)
    paper = paper.because(
        "the paper compresses networks (and images through networks that draw them) by a seed and coefficients; here images "
        "are combined so, of smooth orthonormal random ones, half as many as pixels; white noise, as the paper's bases are, "
        "is smoothness=0; DM's released values otherwise: its rates fit, since the basis is orthonormal"
    )
    if is_paper(schedule):
        return paper
    cpu = dm(images_per_class=images_per_class, data=data, schedule="cpu")
    values = {"steps": 450, "batch_size": 64, "image_learning_rate": cpu.image_learning_rate}
    return paper.with_values(values).because(
        f"CPU schedule: 450 steps, batch 64, SGD {cpu.image_learning_rate} as dm's, untuned; smooth orthonormal random images, "
        "half as many as pixels; else as for the paper's schedule"
    )
