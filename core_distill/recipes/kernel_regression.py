"""FRePo's values."""

import functools
import math

from core_distill.methods import KernelRegression
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper

_DEPARTURES = (
    "departures: Adam for LAMB, learned labels are probabilities (rate untuned) for free regression targets, instance norm "
    "after each convolution for batch norm before the second and third and for none in evaluation, no mirrored copies of the "
    "synthetic images; published on colour images that are whitened by a ridge relative to their variance, which --whiten "
    "does not do"
)


def frepo(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """FRePo (arXiv 2206.00719). `paper`: 500,000 steps of 1,024 real images; `cpu`: sized for ten minutes.

    `data` changes the scale of targets: sqrt(10 / 100) for cifar100, else 1.
    """
    classes = 100 if data == "cifar100" else 10
    paper = Recipe(
        name="frepo",
        paper="Dataset Distillation using Neural Feature Regression, arXiv 2206.00719",
        source="released code: ConvNet-3 of widths 128-256-512, 500,000 steps, batch 1,024, rate 0.0003 down a cosine to a "
        "tenth, 10 networks replaced after 100 steps of Adam 0.0003, regularisation 0.000001, targets scaled by sqrt(10 / 100) "
        f"for CIFAR-100 (there at the start alone), real initialisation, no augmentation; {_DEPARTURES}",
        method=functools.partial(
            KernelRegression,
            batch_size=1024,
            pool_size=10,
            max_age=100,
            network_rate=3e-4,
            regularisation=1e-6,
            label_scale=float(f"{math.sqrt(10 / classes):.3g}"),
        ),
        images_per_class=images_per_class,
        steps=500_000,
        labels=soft,
        optimizer=adam,
        decay=cosine,
        momentum=0.9,
        image_learning_rate=3e-4,
        label_learning_rate=3e-4,
    ).with_values({"widening": 2})
    if is_paper(schedule):
        return paper
    changed = paper.with_values(
        {"steps": 1_000, "batch_size": 256, "widening": 1, "image_learning_rate": 0.03, "label_learning_rate": 0.01}
    )
    return changed.because(
        "CPU schedule: 1,000 steps, batch 256, width 128 in all blocks, rates 0.03 (0.01 and 0.03 were tried on Fashion-MNIST's "
        f"validation part) and 0.01 for labels (untuned); else as released; {_DEPARTURES}"
    )
