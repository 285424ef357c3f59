"""RaT-BPTT's values."""

import functools

from core_distill.augment import Dsa, dsa_for
from core_distill.methods import TruncatedTraining
from core_distill.recipes.optimizers import adam
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.synthetic.initialise import noise, real_images

_CHANGES = ("flip", "rotate")


def rat_bptt(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """RaT-BPTT (arXiv 2311.07025). `data` is the data set's name: digits go without flips."""
    recipe = Recipe(
        name="rat-bptt",
        paper="Embarrassingly Simple Dataset Distillation, arXiv 2311.07025",
        source=(
            f"{told_of(data, ('cifar10',))}released code for CIFAR-10 at 10 images a class: the last 60 of up to 200 steps, Adam "
            "0.001 inside and outside, batch 5000, 600,000 steps (60,000 epochs), flip and rotate (15 degrees, a draw an image), "
            "gradients cut at twice their usual norm; departs: noise of standard deviation 1 for noise of length 1 an image, "
            "windows drawn for each loss (once an epoch there), evaluation by SGD; published on whitened images"
        ),
        method=functools.partial(TruncatedTraining, batch_size=5000, inner_steps=200, window=60, clip=2.0),
        images_per_class=images_per_class,
        steps=600_000,
        augment=Dsa(tuple(name for name in dsa_for(data).operations if name in _CHANGES)),
        initialise=noise,
        image_learning_rate=0.001,
        step_size=0.001,
        optimizer=adam,
        momentum=0.9,
    )
    if is_paper(schedule):
        return recipe
    slots = min(5, images_per_class)
    changed = recipe.with_values(
        {
            "steps": 100,
            "batch_size": 256,
            "inner_steps": 30,
            "window": 10,
            "slots_per_class": slots,
            "initialise": real_images,
            "image_learning_rate": 0.02,
            "step_size": 0.002,
        }
    )
    return changed.because(
        f"CPU schedule: 100 steps, batch 256, the last 10 of up to 30 inner steps on {slots} images a class by Adam 0.002, real "
        "initialisation, Adam 0.02 on pixels, untuned; else as released"
    )
