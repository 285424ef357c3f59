"""KIP's values, for dense and for convolutional kernels."""

import functools

from core_distill.methods import KernelInducingPoints
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper

_COLOUR = ("cifar10", "cifar100", "svhn")


def kip(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """KIP (arXiv 2011.00050) with the tangent kernel of a network with one hidden layer.

    `data` chooses the rate, CIFAR-10's for colour images, else MNIST's, and how many of the 5,000 targets a class has: 50 of
    cifar100, else 500.
    """
    rate = 0.04 if data in _COLOUR else 0.01
    paper = Recipe(
        name="kip",
        paper="Dataset Meta-Learning from Kernel Ridge-Regression, arXiv 2011.00050",
        source=f"paper: tangent kernel, weight variance 2, bias variance 0.0001, Adam {rate:g} (0.01 for MNIST, 0.04 for "
        "CIFAR-10; nothing is published for other data), real initialisation, centred class labels; released notebook: one "
        "hidden layer, 300 steps of 5,000 class-balanced targets, regularisation 0.000001",
        method=functools.partial(KernelInducingPoints, batch_size=_targets(data), regularisation=1e-6, bias_std=0.01),
        images_per_class=images_per_class,
        steps=300,
        optimizer=adam,
        momentum=0.9,
        image_learning_rate=rate,
    ).with_values({"network": "mlp", "hidden": (1024,)})
    if is_paper(schedule):
        return paper
    changed = paper.with_values(
        {"steps": 1_000, "regularisation": 0.1, "image_learning_rate": 0.3 * rate, "decay": cosine}
    )
    return changed.because(
        f"CPU schedule: 1,000 steps down a cosine from {0.3 * rate:g}, regularisation 0.1: what is learned so suits networks too, "
        "while 0.001 and 1 were worse for them than the start on Fashion-MNIST's validation part, as is learning for longer; "
        f"else as published: {paper.source}"
    )


def kip_conv(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """KIP (arXiv 2107.13034) with the tangent kernel of ConvNet-3 and learned labels.

    The paper's kernels took hundreds of cards. `cpu`: the kernel of ConvNet-2 on images averaged to 7 x 7 or so (as they are
    where `data` is "digits"), for a few images a class.
    """
    paper = Recipe(
        name="kip-conv",
        paper="Dataset Distillation with Infinitely Wide Convolutional Networks, arXiv 2107.13034",
        source="paper: tangent kernel of ConvNet-3 with average pooling, learned labels; regularisation and class-balanced "
        "targets as in KIP's notebook; Adam 0.04 and 5,000 targets a step are unverified, bias variance 0.01 is the "
        "notebook's, the number of steps is ours; published on colour images that are whitened by a ridge relative to their "
        "variance, which --whiten does not do; departures: the augmentation of targets is left out, learned "
        "labels are probabilities (rate untuned) for free regression targets",
        method=functools.partial(KernelInducingPoints, batch_size=_targets(data), regularisation=1e-6, bias_std=0.1),
        images_per_class=images_per_class,
        steps=1_000,
        labels=soft,
        optimizer=adam,
        momentum=0.9,
        image_learning_rate=0.04,
        label_learning_rate=0.04,
    ).with_values({"norm": "none", "depth": 3})
    if is_paper(schedule):
        return paper
    view = 1 if data == "digits" else 4
    values = {"steps": 60, "batch_size": 5, "depth": 2, "view": view, "regularisation": 0.1}
    changed = paper.with_values(values | {"image_learning_rate": 0.03, "label_learning_rate": 0.03})
    return changed.because(
        f"CPU schedule: ConvNet-2's kernel, one number for every {view} x {view} pixels, 60 steps of 5 targets a class at "
        "rate 0.03 with regularisation 0.1 (0.1 with 0.000001 was no better than the start on Fashion-MNIST's validation "
        f"part); else {paper.source}"
    )


def _targets(data: str) -> int:
    """A class, of the 5,000 of a step."""
    return 5_000 // (100 if data == "cifar100" else 10)
