"""DM's values."""

import functools

from core_distill.augment import dsa_for
from core_distill.methods import DistributionMatching
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper


def dm(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DM (arXiv 2110.04181). `paper`: 20,000 steps of 256 real images a class, SGD 1.0; `cpu`: sized for minutes.

    `data` is the data set's name: mirrored digits are not digits, so MNIST, SVHN and digits go without flips.
    """
    rate = 10.0 if data == "cifar10" and images_per_class >= 100 else 1.0  # the authors' advice for large CIFAR-10 sets
    paper = Recipe(
        name="dm",
        paper="Dataset Condensation with Distribution Matching, arXiv 2110.04181",
        source=f"released code: 20,000 steps, batch 256, SGD {rate} momentum 0.5, real initialisation, DSA",
        method=functools.partial(DistributionMatching, batch_size=256),
        images_per_class=images_per_class,
        steps=20_000,
        augment=dsa_for(data),
        image_learning_rate=rate,
    )
    if is_paper(schedule):
        return paper
    rate = 10.0 if data == "fashion-mnist" else 3.0
    changed = paper.with_values({"steps": 600, "batch_size": 64, "image_learning_rate": rate})
    return changed.because(
        f"CPU schedule: 600 steps, batch 64, SGD {rate}, tried on validation parts (Fashion-MNIST, digits); else as released"
    )
