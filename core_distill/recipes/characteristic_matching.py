"""NCFM's values."""

import functools

from core_distill.augment import Dsa
from core_distill.methods import CharacteristicMatching
from core_distill.networks.expert_training import ExpertTraining
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule
from core_distill.synthetic.multi_formation import MultiFormation

_DEPARTURES = (
    "departures: one update by the sum of matching and calibration for one each, Adam without weight decay, a cosine for "
    "halving at plateaus, pixels unbounded, networks without CutMix, weight "
    "decay or decay of the rate"
)


def ncfm(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """NCFM (arXiv 2502.20653) with drawn frequencies. `data` changes nothing."""
    paper = Recipe(
        name="ncfm",
        paper="Dataset Distillation with Neural Characteristic Function: A Minmax Perspective, arXiv 2502.20653",
        source=(
            "released configuration for CIFAR-10: 2 x 2 images in one, 20,000 steps, batch 1,024, 4,096 frequencies drawn "
            "anew (its sampling network is off), amplitude and phase 0.5, 300 of the discrepancy, 1 of the calibration, 20 "
            "networks of 60 epochs at 0.01 momentum 0.9, color, crop and cutout, rate 0.01 on pixels from 0 to 1, here "
            "0.04 on normalised ones; "
            f"{_DEPARTURES}"
        ),
        method=functools.partial(CharacteristicMatching, batch_size=1024),
        images_per_class=images_per_class,
        steps=20_000,
        images=MultiFormation.starting_at,
        augment=Dsa(("color", "crop", "cutout")),
        image_learning_rate=0.04,
        label_learning_rate=0.04,
        momentum=0.9,
        optimizer=adam,
        decay=cosine,
        experts=ExpertTraining(
            num_experts=20, training_epochs=60, training_rate=0.01, training_momentum=0.9, training_batch_size=256
        ),
    )
    if schedule == "paper":
        return paper
    changed = paper.with_values(
        {
            "steps": 300,
            "batch_size": 64,
            "num_frequencies": 1024,
            "num_experts": 4,
            "training_epochs": 4,
            "training_images": 2_500,
            "training_batch_size": 64,
        }
    )
    return changed.because(
        "CPU schedule: 300 steps, batch 64, 1,024 frequencies, 4 networks of 4 epochs of 2,500 images in batches of 64; "
        f"rate 0.1 was no better on Fashion-MNIST's validation part; else as released; {_DEPARTURES}"
    )
