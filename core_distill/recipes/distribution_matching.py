"""DM's values."""

import functools

from core_distill.augment import Dsa
from core_distill.methods import DistributionMatching
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, siamese_operations


def dm(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DM (arXiv 2110.04181). `paper`: 20,000 steps of 256 real images a class, SGD 1.0; `cpu`: sized for minutes.

    `data` is the data set's name: mirrored digits are not digits, so MNIST, SVHN and digits go without flips.
    """
    paper = Recipe(
        name="dm",
        paper="Dataset Condensation with Distribution Matching, arXiv 2110.04181",
        source="released code: 20,000 steps, batch 256, SGD 1.0 momentum 0.5, real initialisation, DSA",
        method=functools.partial(DistributionMatching, batch_size=256),
        images_per_class=images_per_class,
        steps=20_000,
        augment=Dsa(operations=siamese_operations(data)),
        image_learning_rate=1.0,
    )
    if schedule == "paper":
        return paper
    changed = paper.with_values({"steps": 1_000, "batch_size": 64, "image_learning_rate": 5.0})
    return changed.because(
        "CPU schedule of this library: 1,000 steps, batch 64, SGD 5.0; otherwise as the released code"
    )
