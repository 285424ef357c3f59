"""LD's values, by second-order gradients and by ridge regression."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from core_distill.methods import LabelDistillation, RidgeLabelDistillation
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.types import Method

_PAPER = "Flexible Dataset Distillation: Learn Labels Instead of Images, arXiv 2006.08572"
_UNIFORM = functools.partial(soft, confidence=0.0)
_DEPARTURES = (
    "departures: labels are the softmax of what is learned, for probabilities that are clamped and rescaled; the last labels "
    "count, for those of the lowest validation error; ConvNet for LeNet and AlexNet, evaluation does not stop early"
)
_DATA = ("cifar10", "cifar100", "mnist")
_STEPS_AN_EPOCH = {"mnist": 49}
"""Batches of 1,024 in the 50,000 training images of MNIST; in the 45,000 of CIFAR, 44."""


def ld(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """LD (arXiv 2006.08572) by second-order gradients; real images that stay.

    `data` chooses steps, the rate of labels, patience and how many base images a step sees.
    """
    method = functools.partial(LabelDistillation, **_method_values(images_per_class, data))
    recipe = _recipe("ld", method, images_per_class, data, "one inner step at 0.01")
    return _scheduled(dataclasses.replace(recipe, step_size=0.01), schedule)


def ld_ridge(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """LD (arXiv 2006.08572) by ridge regression with a global head. `data` chooses the same as of `ld`."""
    values = _method_values(images_per_class, data)
    method = functools.partial(RidgeLabelDistillation, **values, regularisation=1.0, head_rate=0.01)
    told = "regularisation 1, head moved by 0.01 with a learned scale at Adam 0.01"
    return _scheduled(_recipe("ld-ridge", method, images_per_class, data, told), schedule)


def _recipe(name: str, method: Callable[..., Method], images_per_class: int, data: str, told: str) -> Recipe:
    """What both have in common."""
    classes = 100 if data == "cifar100" else 10
    epochs = 800 if data == "cifar100" or images_per_class >= 20 else 400
    rate = float(f"{0.001 * classes**2 / (classes - 1):.3g}")
    values = _method_values(images_per_class, data)
    return Recipe(
        name=name,
        paper=_PAPER,
        source=(
            f"{told_of(data, _DATA)}released configurations: {epochs} epochs in batches of 1,024, {values['base_batch_size']} base "
            f"images a step, {told}, Adam 0.001 for the network, which is replaced after {values['patience']} steps without a "
            "lower "
            f"average error, Adam 0.001 for labels that start uniform, which there is as far as {rate:g} for logits (times c^2 / "
            f"(c - 1) for c classes); {_DEPARTURES}"
        ),
        method=method,
        images_per_class=images_per_class,
        steps=epochs * _STEPS_AN_EPOCH.get(data, 44),
        labels=_UNIFORM,
        label_learning_rate=rate,
        optimizer=adam,
        momentum=0.9,
    )


def _method_values(images_per_class: int, data: str) -> dict[str, Any]:
    """The released code's: patience 100 for a hundred classes; of ten, 200 above 100 images, and 50.

    Of 20 and 50 images in all, base batches are of 10 and 25.
    """
    hundred = data == "cifar100"
    patience = 100 if hundred else 200 if images_per_class > 10 else 50
    few = 10 if 2 <= images_per_class < 5 else 25 if 5 <= images_per_class < 10 else 50
    base = 100 if hundred else few
    return {"batch_size": 1024, "base_batch_size": base, "network_rate": 0.001, "patience": patience}


def _scheduled(recipe: Recipe, schedule: Schedule) -> Recipe:
    if is_paper(schedule):
        return recipe
    changed = recipe.with_values(
        {
            "steps": 500,
            "batch_size": 256,
            "base_batch_size": 100,
            "label_learning_rate": 0.1,
            "decay": cosine,
            "patience": 30,
            "confidence": 0.9,
        }
    )
    return changed.because(
        "CPU schedule: 500 steps, batch 256, 100 base images a step, patience 30, labels from 0.9 for the class of their image by "
        "Adam 0.1 down a cosine (0.01, and "
        "0.3 for one inner step at 0.1, were no better on Fashion-MNIST's validation part); else as released: Adam 0.001 for "
        f"the network; {_DEPARTURES}"
    )
