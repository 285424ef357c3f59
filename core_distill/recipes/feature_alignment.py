"""CAFE's values."""

import functools

from core_distill.methods import FeatureAlignment
from core_distill.recipes.optimizers import halvings
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper
from core_distill.synthetic.initialise import noise, real_images


def cafe(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """CAFE (arXiv 2203.01531), noise initialisation, no augmentation. `data` changes nothing.

    With the operations of `dsa_for(data)` as `augment` it is the paper's CAFE+DSA.
    """
    paper = Recipe(
        name="cafe",
        paper="CAFE: Learning to Condense Dataset by Aligning Features, arXiv 2203.01531",
        source=(
            "released code: batch 256, SGD 0.1 momentum 0.5, noise, layers weighted 0.1, 0.1, 1 and 2 (the last is counted "
            "twice), discrimination 0.01 of a sum, 2.56 of a mean, 128 query images a class, windows of 10 accuracies with "
            "spreads 0.04 and 0.03; departs: 20,000 losses, the fewest that 2,000 networks can have there, rates halved "
            "after as large a part of them; at most 50 losses a network, and 10 epochs between two, where the released code's "
            "accuracies, which are not set back to 0, end them as soon as they are above 0.3: so the inner spread ends nothing"
        ),
        method=functools.partial(FeatureAlignment, batch_size=256, max_epochs=10),
        images_per_class=images_per_class,
        steps=20_000,
        initialise=noise,
        image_learning_rate=0.1,
        decay=halvings,
    )
    if is_paper(schedule):
        return paper
    changed = paper.with_values(
        {
            "steps": 150,
            "batch_size": 64,
            "query_size": 20,
            "window": 5,
            "max_losses": 10,
            "max_epochs": 10,
            "initialise": real_images,
        }
    )
    return changed.because(
        "CPU schedule: 150 steps, batch 64, real initialisation, 20 query images a class, windows of 5 accuracies, at most 10 "
        "losses a network and 10 epochs between two; SGD 0.5 was no better on Fashion-MNIST's validation part; else as released"
    )
