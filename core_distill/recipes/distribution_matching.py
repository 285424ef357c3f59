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
    rate = 10.0 if data == "cifar10" and images_per_class >= 100 else 1.0  # the authors' advice for large CIFAR-10 sets
    paper = Recipe(
        name="dm",
        paper="Dataset Condensation with Distribution Matching, arXiv 2110.04181",
        source=f"released code: 20,000 steps, batch 256, SGD {rate} momentum 0.5, real initialisation, DSA",
        method=functools.partial(DistributionMatching, batch_size=256),
        images_per_class=images_per_class,
        steps=20_000,
        augment=Dsa(operations=siamese_operations(data)),
        image_learning_rate=rate,
    )
    if schedule == "paper":
        return paper
    changed = paper.with_values({"steps": 600, "batch_size": 64, "image_learning_rate": 10.0})
    return changed.because(
        "CPU schedule of this library: 600 steps, batch 64, SGD 10.0; otherwise as the released code"
    )
