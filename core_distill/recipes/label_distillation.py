"""LD's values, by second-order gradients and by ridge regression."""

import functools

from core_distill.methods import LabelDistillation, RidgeLabelDistillation
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam, cosine
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule

_PAPER = "Flexible Dataset Distillation: Learn Labels Instead of Images, arXiv 2006.08572"
_DEPARTURES = (
    "departures: labels are the softmax of what is learned and start at 0.9 for the class of their image (the paper clamps and "
    "rescales, from uniform: --set confidence=0.1 for ten classes), ConvNet for LeNet and AlexNet, evaluation does not stop early"
)


def ld(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """LD (arXiv 2006.08572) by second-order gradients; real images that stay. `data` chooses the patience."""
    patience = _patience(images_per_class, data)
    recipe = Recipe(
        name="ld",
        paper=_PAPER,
        source=(
            "released code: 400 epochs of MNIST (19,600 steps), batch 1024, 50 base images a step, one inner step at 0.01, Adam "
            f"0.001 for labels and network, which is replaced after {patience} steps without a lower average error; {_DEPARTURES}"
        ),
        method=functools.partial(
            LabelDistillation, batch_size=1024, base_batch_size=50, network_rate=0.001, patience=patience
        ),
        images_per_class=images_per_class,
        steps=19_600,
        labels=soft,
        label_learning_rate=0.001,
        step_size=0.01,
        optimizer=adam,
        momentum=0.9,
    )
    return _scheduled(recipe, schedule)


def ld_ridge(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """LD (arXiv 2006.08572) by ridge regression with a global head. `data` chooses the patience."""
    patience = _patience(images_per_class, data)
    recipe = Recipe(
        name="ld-ridge",
        paper=_PAPER,
        source=(
            "released code: 400 epochs of MNIST (19,600 steps), batch 1024, 50 base images a step, regularisation 1, head moved "
            "by 0.01 with a learned scale at Adam 0.01, Adam 0.001 for labels and network, which is replaced after "
            f"{patience} steps without a lower average error; {_DEPARTURES}"
        ),
        method=functools.partial(
            RidgeLabelDistillation,
            batch_size=1024,
            base_batch_size=50,
            network_rate=0.001,
            patience=patience,
            regularisation=1.0,
            head_rate=0.01,
        ),
        images_per_class=images_per_class,
        steps=19_600,
        labels=soft,
        label_learning_rate=0.001,
        optimizer=adam,
        momentum=0.9,
    )
    return _scheduled(recipe, schedule)


def _patience(images_per_class: int, data: str) -> int:
    """The released code's: 100 for a hundred classes; of ten, 200 above 100 images, and 50."""
    if data == "cifar100":
        return 100
    return 200 if images_per_class > 10 else 50


def _scheduled(recipe: Recipe, schedule: Schedule) -> Recipe:
    if schedule == "paper":
        return recipe
    changed = recipe.with_values(
        {
            "steps": 500,
            "batch_size": 256,
            "base_batch_size": 100,
            "label_learning_rate": 0.1,
            "decay": cosine,
            "patience": 30,
        }
    )
    return changed.because(
        "CPU schedule: 500 steps, batch 256, 100 base images a step, patience 30, Adam 0.1 for labels down a cosine (0.01, and "
        "0.3 for one inner step at 0.1, were no better on Fashion-MNIST's validation part); else as released: Adam 0.001 for "
        f"the network; {_DEPARTURES}"
    )
