"""Lorraine's values: distillation by implicit differentiation."""

import functools

from core_distill.methods import ImplicitDifferentiation
from core_distill.recipes.optimizers import adam
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper


def lorraine(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """Implicit differentiation (arXiv 1911.02590) with a Neumann series. `data` changes nothing.

    Cold start; in the CPU schedule a network serves 5 losses, as `lifetime=5` says. `lifetime=0` goes on with one network for
    ever, as the paper's Algorithm 1 does.
    """
    paper = Recipe(
        name="lorraine",
        paper="Optimizing Millions of Hyperparameters by Implicit Differentiation, arXiv 1911.02590",
        source=(
            "no table of the paper's values is known to us; those of Medvedev and D'yakonov's released code (arXiv "
            "2203.08559) for MNIST, ConvNet: fresh networks, 10 steps of SGD 0.02 momentum 0.5 on the whole set, 11 Neumann "
            "terms, batch 256, 1,000 steps (1,070 in its run at 10 images a class, 250 at 50); departs: the series at the "
            "training's rate for 0.01, Adam 0.01 (untuned) for SGD "
            "10 with gradients clipped to norm 10, real initialisation. The paper's own code goes on with one network (warm "
            "start) by Adam, updates images that start at zero by RMSprop, and takes the identity for the Hessian by default"
        ),
        method=functools.partial(
            ImplicitDifferentiation, terms=11, batch_size=256, inner_steps=10, learning_rate=0.02, inner_momentum=0.5
        ),
        images_per_class=images_per_class,
        steps=1_000,
        optimizer=adam,
        momentum=0.5,
        image_learning_rate=0.01,
        label_learning_rate=0.01,
    )
    if is_paper(schedule):
        return paper
    changed = paper.with_values(
        {
            "steps": 100,
            "terms": 3,
            "learning_rate": 0.03,
            "inner_momentum": 0.9,
            "lifetime": 5,
            "batch_size": 512,
            "image_learning_rate": 0.02,
            "decay": "cosine",
        }
    )
    return changed.because(
        "CPU schedule: 100 steps, batch 512, 3 Neumann terms, networks of 5 losses each, trained at 0.03 with momentum 0.9, "
        "Adam 0.02 down a cosine, without which images drift off after some minutes; on Fashion-MNIST's validation part 12 terms "
        "were no better, and training at 0.1 (Adam 0.01) learned hardly anything; else as for the paper's schedule: "
        f"{paper.source}"
    )
