"""DD's and SLDD's values."""

import dataclasses
import functools

from core_distill.methods import UnrolledTraining
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.recipes.step_sizes import each
from core_distill.synthetic.initialise import noise, real_images

_INNER_STEPS = 10
_STEPS = 20_000
_DATA = ("cifar10", "mnist")
_STEP_SIZES = {"cifar10": 0.001}
"""Where the published step sizes start; MNIST's is 0.02."""

_RATE = 0.01
_LABEL_RATE = 0.11
"""Of logits: near a probability of 0.9 labels go 0.09 times as far as their logits do."""

SOFTENED = (
    "are probabilities that start at 0.9 for their class, for unrestricted numbers that start at 1 and 0 at Adam 0.01, "
    f"by Adam {_LABEL_RATE:g} for logits, which there goes as far"
)
"""What published schedules of SLDD say of their labels."""


def dd(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """DD (arXiv 1811.10959) from a random network each time, hard labels. `data` chooses the step size.

    CIFAR-10's is 0.001, MNIST's, taken for all other data, 0.02.
    """
    step_size = _STEP_SIZES.get(data, 0.02)
    recipe = Recipe(
        name="dd",
        paper="Dataset Distillation, arXiv 1811.10959",
        source=(
            f"{told_of(data, _DATA, 'MNIST')}released code: 10 steps (fewer for fewer images) x 3 epochs, a learned step size "
            f"each from {step_size:g}, Adam 0.01 betas (0.5, 0.999), batch 1024, noise; departs: 20,000 steps decayed by a cosine "
            f"for 400 epochs halved every 40; the step size itself is learned at 0.01 x {step_size:g}, at first the same as its "
            "softplus at 0.01; ConvNet for LeNet and AlexCifarNet, PyTorch's start for Xavier's, real images not padded, cropped "
            "and flipped; evaluation does not use the step sizes"
        ),
        method=functools.partial(
            UnrolledTraining, batch_size=1024, inner_steps=min(_INNER_STEPS, images_per_class), inner_epochs=3
        ),
        images_per_class=images_per_class,
        steps=_STEPS,
        initialise=noise,
        image_learning_rate=_RATE,
        label_learning_rate=_RATE,
        step_size=step_size,
        step_sizes=each,
        learn_step_size=True,
        step_learning_rate=_RATE * step_size,
        optimizer=adam,
        decay=cosine,
        momentum=0.5,
    )
    return _scheduled(recipe, schedule)


def sldd(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """SLDD (arXiv 1910.02551): DD with labels learned too. `data` is as for `dd`.

    The paper learns unrestricted label vectors; ours are probabilities, the softmax of what is learned, so that the set
    trains any network with cross-entropy.
    """
    recipe = dd(images_per_class=images_per_class, data=data, schedule=schedule)
    rate = _LABEL_RATE if is_paper(schedule) else recipe.image_learning_rate
    recipe = dataclasses.replace(recipe, labels=soft, label_learning_rate=rate)
    told = SOFTENED if is_paper(schedule) else f"are probabilities that start at 0.9 for their class, by Adam {rate:g}"
    renamed = recipe.renamed("sldd", paper="Soft-Label Dataset Distillation, arXiv 1910.02551")
    return renamed.because(f"{recipe.source}; labels {told}")


def _scheduled(recipe: Recipe, schedule: Schedule) -> Recipe:
    if is_paper(schedule):
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
