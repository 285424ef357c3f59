"""DD's and SLDD's values."""

import dataclasses
import functools

from core_distill.methods import UnrolledTraining
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule
from core_distill.recipes.step_sizes import each
from core_distill.synthetic.initialise import noise, real_images

_INNER_STEPS = 10
_STEPS = 20_000
_STEP_SIZE = 0.02
_RATE = 0.01


def dd(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DD (arXiv 1811.10959) from a random network each time, hard labels. `data` changes nothing."""
    recipe = Recipe(
        name="dd",
        paper="Dataset Distillation, arXiv 1811.10959",
        source=(
            "released code: 10 steps (fewer for fewer images) x 3 epochs, a learned step size each from 0.02, Adam 0.01 "
            "betas (0.5, 0.999), batch 1024, noise; departs: 20,000 steps decayed by a cosine for 400 epochs halved every "
            "40; the step size itself is learned at 0.01 x 0.02, near zero the same as its softplus at 0.01; ConvNet; "
            "evaluation does not use the step sizes"
        ),
        method=functools.partial(
            UnrolledTraining, batch_size=1024, inner_steps=min(_INNER_STEPS, images_per_class), inner_epochs=3
        ),
        images_per_class=images_per_class,
        steps=_STEPS,
        initialise=noise,
        image_learning_rate=_RATE,
        label_learning_rate=_RATE,
        step_size=_STEP_SIZE,
        step_sizes=each,
        learn_step_size=True,
        step_learning_rate=_RATE * _STEP_SIZE,
        optimizer=adam,
        decay=cosine,
        momentum=0.5,
    )
    return _scheduled(recipe, schedule)


def sldd(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """SLDD (arXiv 1910.02551): DD with labels learned too. `data` changes nothing.

    The paper learns unrestricted label vectors; ours are probabilities, the softmax of what is learned, so that the set
    trains any network with cross-entropy.
    """
    recipe = dd(images_per_class=images_per_class, data=data, schedule=schedule)
    recipe = dataclasses.replace(recipe, labels=soft, label_learning_rate=recipe.image_learning_rate)
    renamed = recipe.renamed("sldd", paper="Soft-Label Dataset Distillation, arXiv 1910.02551")
    return renamed.because(f"{recipe.source}; labels are probabilities that start at 0.9 for their class")


def _scheduled(recipe: Recipe, schedule: Schedule) -> Recipe:
    if schedule == "paper":
        return recipe
    changed = dataclasses.replace(
        recipe,
        steps=150,
        initialise=real_images,
        image_learning_rate=0.03,
        step_learning_rate=0.0002,
        step_size=0.01,
    )
    inner = {"inner_steps": min(5, recipe.images_per_class), "inner_epochs": 6, "inner_momentum": 0.9}
    return changed.with_values({"batch_size": 256, **inner}).because(
        "CPU schedule: 150 steps, batch 256, real initialisation, Adam 0.03; runs like those of an evaluation, 5 steps (fewer "
        "for fewer images) x 6 epochs with momentum 0.9 (the paper has none) and step sizes from 0.01 at 0.0002, which end "
        "lowest from real images on Fashion-MNIST's validation part; betas as released"
    )
