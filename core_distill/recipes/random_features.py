"""RFAD's values."""

import functools

from core_distill.methods import RandomFeatureRegression
from core_distill.recipes.optimizers import adabelief
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper

_DEPARTURES = (
    "departures: steps are counted, for early stopping on a part of the training images; no learned linear map between "
    "pixels; published on colour images that are whitened by a ridge relative to their variance, which --whiten does not do; the "
    "temperature by Adam for AdaBelief; grey images are padded from 28 to 32 pixels in the first "
    "layer"
)


def rfad(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """RFAD (arXiv 2210.12067) with Platt scaling and fixed labels; `labels=soft` learns them. `data` changes nothing."""
    paper = Recipe(
        name="rfad",
        paper="Efficient Dataset Distillation using Random Feature Approximation, arXiv 2210.12067",
        source="released code: 8 random ConvNets of width 256 without norm in every step, 4 x 1,280 targets, regularisation "
        "0.005, AdaBelief 0.001, temperature rate 0.01, at most 100,000 steps (early stopping after 1,000 without gain), real "
        f"initialisation; {_DEPARTURES}",
        method=functools.partial(
            RandomFeatureRegression, batch_size=5120, num_networks=8, regularisation=5e-3, temperature_rate=0.01
        ),
        images_per_class=images_per_class,
        steps=100_000,
        optimizer=adabelief,
        momentum=0.9,
        image_learning_rate=1e-3,
        label_learning_rate=1e-3,
    ).with_values({"width": 256, "norm": "none"})
    if is_paper(schedule):
        return paper
    values = {"steps": 400, "batch_size": 256, "num_networks": 2, "width": 128, "image_learning_rate": 0.02}
    changed = paper.with_values(values | {"temperature_rate": 0.05, "norm": "instance"})
    return changed.because(
        "CPU schedule: 400 steps of 256 targets, 2 networks of width 128, AdaBelief 0.02, temperature rate 0.05 (untuned); "
        "instance norm, without which networks train more slowly at an evaluation's rate of 0.01 and end some points lower; on "
        f"digits it was better also where both were judged with it (validation); else as released; {_DEPARTURES}"
    )
