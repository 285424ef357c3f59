"""NCFM's values."""

import dataclasses
import functools
import math

from core_distill.augment import Dsa
from core_distill.methods import CharacteristicMatching
from core_distill.recipes.optimizers import adam, cosine, sgd
from core_distill.recipes.pixel_rates import adam_rate, sgd_rate
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.synthetic.multi_formation import MultiFormation
from core_distill.training.expert_settings import ExpertTraining

_DEPARTURES = (
    "departures: one update by the sum over classes of matching and calibration, for two of each class in turn; real images "
    "drawn anew, for always the first 1,024 of a class; a start of area means; Adam without weight decay, a cosine for halving at "
    "plateaus, pixels unbounded; networks see one of color, crop and cutout at a time, for color and crop together, without "
    "CutMix, weight decay or decay of the rate"
)
_RATE = 0.001
"""Of Adam, for pixels from 0 to 1: the configuration's 0.01 times its scale of 0.1 for Adam."""

_DATA = ("cifar10", "cifar100")
_PROCESSES = 8
"""Of the released commands; each has some of the classes and an optimizer of its own."""


def ncfm(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """NCFM (arXiv 2502.20653) with drawn frequencies. `data` chooses the rate.

    There, each class has a gradient in 2 of the `2 * classes` updates that a process makes in a step. Adam divides by the root
    mean square over all of them, so a class goes `sqrt(2 * classes)` times as far as by one update with the sum of both
    gradients, as long as these have little in common (up to `2 * sqrt(classes)` times where they are equal).
    """
    classes = max(1, (100 if data == "cifar100" else 10) // _PROCESSES)
    rate = adam_rate(math.sqrt(2 * classes) * _RATE, data)
    paper = Recipe(
        name="ncfm",
        paper="Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, arXiv 2502.20653",
        source=(
            f"{told_of(data, _DATA)}released configuration: 2 x 2 images in one, 20,000 steps, batch 1,024, 4,096 frequencies "
            "drawn anew (its sampling network is off), amplitude and phase 0.5, 300 of the discrepancy, 1 of the calibration, 20 "
            f"networks of 60 epochs at 0.01 momentum 0.9, color, crop and cutout, rate {_RATE} on pixels from 0 to 1, twice "
            f"for each class in a step of a process with {classes} of them, which with one update a step and normalised pixels is "
            f"about as far as {rate:g} (times sqrt(2 classes), divided by std); {_DEPARTURES}"
        ),
        method=functools.partial(CharacteristicMatching, batch_size=1024),
        images_per_class=images_per_class,
        steps=20_000,
        images=MultiFormation.starting_at,
        augment=Dsa(("color", "crop", "cutout")),
        image_learning_rate=rate,
        label_learning_rate=rate,
        momentum=0.9,
        optimizer=adam,
        decay=cosine,
        experts=ExpertTraining(
            num_experts=20, training_epochs=60, training_rate=0.01, training_momentum=0.9, training_batch_size=128
        ),
    )
    if is_paper(schedule):
        return _by_sgd(paper) if data == "cifar100" and 10 <= images_per_class < 50 else paper
    changed = paper.with_values(
        {
            "steps": 300,
            "batch_size": 64,
            "num_frequencies": 1024,
            "image_learning_rate": 0.04,
            "num_experts": 4,
            "training_epochs": 4,
            "training_images": 2_500,
            "training_batch_size": 64,
        }
    )
    return changed.because(
        "CPU schedule: 300 steps, batch 64, 1,024 frequencies, 4 networks of 4 epochs of 2,500 images in batches of 64, rate "
        f"0.04 (0.1 was no better on Fashion-MNIST's validation part); else as released; {_DEPARTURES}"
    )


def _by_sgd(paper: Recipe) -> Recipe:
    """CIFAR-100 at 10 images a class, the one configuration with another optimizer."""
    rate = sgd_rate(0.01, "cifar100")
    changed = dataclasses.replace(
        paper, optimizer=sgd, momentum=0.5, image_learning_rate=rate, label_learning_rate=rate
    )
    return changed.because(
        f"released configuration: SGD 0.01 momentum 0.5 on pixels from 0 to 1, for normalised ones {rate:g}; else as for other "
        f"budgets (`stillroom recipes ncfm --data cifar100 --ipc 1`); {_DEPARTURES.replace('Adam without', 'SGD without')}"
    )
