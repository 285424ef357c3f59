"""The values of learning a training set by reversing its training, the first paper that did."""

import functools

from core_distill.methods import UnrolledTraining
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adam
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper
from core_distill.recipes.step_sizes import each
from core_distill.synthetic.initialise import noise, real_images


def maclaurin(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """Hyper-gradients through training with momentum (arXiv 1502.03492): images, labels and every step size are learned.

    `data` changes nothing. Ours keeps one copy of the parameters a step where the paper reverses exact arithmetic; the
    gradient is the same.
    """
    recipe = Recipe(
        name="maclaurin",
        paper="Gradient-based Hyperparameter Optimization through Reversible Learning, arXiv 1502.03492",
        source=(
            "100 steps and Adam 0.04 of its experiment on schedules (there on minibatches, judged by training error), momentum "
            "0.9, the whole set and 10,000 images to judge by of the one on training data (whose released code has 20 steps at "
            "0.1 in our momentum, and 40 updates of gradient descent at 1); departs: images, labels and step sizes together (the "
            "paper learns images, or step sizes), ConvNet with a fresh start each time for a linear or small network and a fixed "
            "start, 2,000 steps, step sizes from 0.02 at 0.04 of that, noise of standard deviation 1 for 0.01, labels are "
            "probabilities from 0.9, no weight penalty; untuned"
        ),
        method=functools.partial(
            UnrolledTraining, batch_size=10_000, inner_steps=1, inner_epochs=100, inner_momentum=0.9
        ),
        images_per_class=images_per_class,
        steps=2_000,
        labels=soft,
        initialise=noise,
        image_learning_rate=0.04,
        label_learning_rate=0.04,
        step_size=0.02,
        step_sizes=each,
        learn_step_size=True,
        step_learning_rate=0.0008,
        optimizer=adam,
        momentum=0.9,
    )
    if is_paper(schedule):
        return recipe
    groups = min(5, images_per_class)
    changed = recipe.with_values(
        {
            "steps": 60,
            "batch_size": 256,
            "inner_steps": groups,
            "inner_epochs": 60 // groups,
            "initialise": real_images,
            "step_size": 0.01,
            "step_learning_rate": 0.0004,
        }
    )
    return changed.because(
        f"CPU schedule: 60 losses, batch 256, runs of {groups} steps (fewer for fewer images) x {60 // groups} passes with "
        "momentum 0.9, step sizes from 0.01 at 0.0004, real initialisation, Adam 0.04, untuned; else as for the paper schedule"
    )
