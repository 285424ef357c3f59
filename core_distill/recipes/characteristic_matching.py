"""NCFM's values."""

import functools
import math

from core_distill.augment import Dsa
from core_distill.methods import CharacteristicMatching
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.pixel_rates import adam_rate
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, told_of
from core_distill.synthetic.multi_formation import MultiFormation
from core_distill.training.expert_settings import ExpertTraining

_DEPARTURES = (
    "departures: one update by the sum over classes of matching and calibration, for two of each class in turn, Adam without "
    "weight decay, a cosine for halving at plateaus, pixels unbounded, networks without CutMix, weight decay or decay of the rate"
)
_RATE = 0.001
"""Of Adam, for pixels from 0 to 1: the configuration's 0.01 times its scale of 0.1 for Adam."""

_DATA = ("cifar10",)


def ncfm(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """NCFM (arXiv 2502.20653) with drawn frequencies. `data` chooses the rate.

    There, each class has a gradient in 2 of the `2 * classes` updates of a step. Adam divides by the root mean square over all of
    them, so a class goes `2 * sqrt(classes)` times as far in a step as by one update a step: the rate here is so many times theirs.
    """
    rate = adam_rate(2 * math.sqrt(100 if data == "cifar100" else 10) * _RATE, data)
    paper = Recipe(
        name="ncfm",
        paper="Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, arXiv 2502.20653",
        source=(
            f"{told_of(data, _DATA)}released configuration: 2 x 2 images in one, 20,000 steps, batch 1,024, 4,096 frequencies "
            "drawn anew (its sampling network is off), amplitude and phase 0.5, 300 of the discrepancy, 1 of the calibration, 20 "
            f"networks of 60 epochs at 0.01 momentum 0.9, color, crop and cutout, rate {_RATE} on pixels from 0 to 1, twice "
            "for each class in a step, which with one update a step and normalised pixels is as far as "
            f"{rate:g} (times 2 sqrt(classes), divided by std); {_DEPARTURES}"
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
    if schedule == "paper":
        return paper
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
