"""LinBa's values."""

import functools

from core_distill.methods import UnrolledTraining
from core_distill.recipes.optimizers import adam, clipped_sgd
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.synthetic.addressable_memory import AddressableMemory
from core_distill.synthetic.initialise import noise, real_images


def linba(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """LinBa (arXiv 2206.02916): bases shared by the classes, learned through whole training runs with momentum.

    `data` is the data set's name: digits of 8 x 8 get fewer bases, not shrunk.
    """
    bases, downscale = (2 * images_per_class, 1) if data == "digits" else (16 * images_per_class, 2)
    recipe = Recipe(
        name="linba",
        paper="Remember the Past: Distilling Datasets into Addressable Memories for Neural Networks, arXiv 2206.02916",
        source=(
            f"{told_of(data, ('cifar10',))}released example (CIFAR-10, 1 image a class): 16 bases of half the side, 640 real "
            "images over all classes for 64 of each (of ten at a time), inner SGD 0.01 "
            "momentum 0.9, outer SGD 0.1 momentum 0.5 clipped to norm 2, Xavier numbers, 500,000 steps at most; for larger "
            "budgets 16 bases for each image a class, which keeps their slots (115 on CIFAR-10; untuned); departs: 152 inner "
            "steps that take quarters of the slots in turn for 150 of 32 random ones a class; no penalty on coefficients, "
            "since theirs is part of the inner loss, whose gradient in the network's parameters it does not change; its "
            "optional augmentation is left out"
        ),
        method=functools.partial(UnrolledTraining, batch_size=640, inner_steps=4, inner_epochs=38, inner_momentum=0.9),
        images_per_class=images_per_class,
        steps=500_000,
        images=functools.partial(AddressableMemory.starting_at, bases=bases, downscale=downscale, xavier=True),
        initialise=noise,
        optimizer=clipped_sgd,
        image_learning_rate=0.1,
        momentum=0.5,
        step_size=0.01,
    )
    return recipe if is_paper(schedule) else _cpu(recipe)


def _cpu(recipe: Recipe) -> Recipe:
    values = {
        "steps": 70,
        "xavier": False,
        "initialise": real_images,
        "optimizer": adam,
        "image_learning_rate": 0.03,
        "batch_size": 256,
        "inner_steps": 10,
        "inner_epochs": 2,
    }
    return recipe.with_values(values).because(
        "CPU schedule: 70 steps of Adam 0.03, batch 256, 20 inner steps on tenths of the slots, principal components of real "
        "images, untuned; bases and inner SGD as released"
    )
