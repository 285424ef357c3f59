"""RCIG's values."""

import functools

from core_distill.methods import ConvexifiedGradients
from core_distill.recipes.labels import soft
from core_distill.recipes.optimizers import adabelief
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper

_DEPARTURES = (
    "departures: learned labels are probabilities (rate untuned) for free regression targets, ReLU for softplus of slope 60, "
    "no mirrored copies of the synthetic images, the implicit gradient leaves the last layer's weights out (as the paper's "
    "formula does), its average starts at the real images, conjugate gradients for Adam in the inner and the inverse problem, the "
    "pool's networks start at different ages, the temperature by Adam for AdaBelief; published on colour images that are "
    "whitened by a ridge relative to their variance, which --whiten does not do"
)


def rcig(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """RCIG (arXiv 2302.06755). `paper`: 10,000 steps of 1,024 real images; `cpu`: sized for minutes.

    `data` changes nothing.
    """
    paper = Recipe(
        name="rcig",
        paper="Dataset Distillation with Convexified Implicit Gradients, arXiv 2302.06755",
        source="released code, its values for MNIST and Fashion-MNIST: ConvNet-3 without norm, of widths 128-256-512, 1,024 "
        "targets, 30 networks replaced after 100 steps of Adam 0.00005, of which 1 to 15 a loss, 20 inner and 20 inverse steps, "
        "ridge 0.0005 an image, AdaBelief 0.003, temperature rate 0.03, real initialisation, no augmentation, average "
        f"of decay 0.99 released; 10,000 steps are its example's for CIFAR-10; {_DEPARTURES}",
        method=functools.partial(
            ConvexifiedGradients,
            batch_size=1024,
            inner_steps=20,
            inverse_steps=20,
            regularisation=5e-4,
            pool_size=30,
            max_age=100,
            network_rate=5e-5,
            pool_steps=15,
            temperature_rate=0.03,
        ),
        images_per_class=images_per_class,
        steps=10_000,
        labels=soft,
        optimizer=adabelief,
        momentum=0.9,
        average=0.99,
        image_learning_rate=3e-3,
        label_learning_rate=3e-3,
    ).with_values({"width": 128, "widening": 2, "norm": "none"})
    if is_paper(schedule):
        return paper
    changed = paper.with_values(
        {
            "steps": 200,
            "batch_size": 256,
            "width": 32,
            "widening": 1,
            "norm": "instance",
            "inner_steps": 5,
            "inverse_steps": 5,
            "pool_size": 4,
            "pool_steps": 5,
            "regularisation": 0.05,
            "decay": "cosine",
            "average": 0.0,
            "image_learning_rate": 0.03,
            "label_learning_rate": 0.03,
        }
    )
    return changed.because(
        "CPU schedule: 200 steps of 256 targets, width 32 in all blocks, instance norm, as in the networks that are scored, 5 "
        "inner, 5 inverse and 1 to 5 pool steps, 4 networks, AdaBelief 0.03 down a cosine, a ridge of 0.05, of which five "
        "conjugate gradients come nearer to the solution, the last set released (on Fashion-MNIST's validation part, in one run "
        "each: 82.0 after 564 steps; with a ridge of 0.2 81.3 after 566, of 0.0005 81.7 after 909, without the cosine 81.6 after "
        "931, and so with a width of 128 80.1 after 178); "
        f"else as released; {_DEPARTURES}"
    )
