"""KFS' values: DM on codes and decoders."""

import dataclasses
import functools

from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.optimizers import adam
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper
from core_distill.synthetic.shared_decoders import SharedDecoders

_PAPER = "Dataset Condensation with Latent Space Knowledge Factorization and Sharing, arXiv 2208.10494"


def kfs(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """KFS (arXiv 2208.10494): images of few shared decoders and many small codes, matched as by DM.

    `data` is the data set's name, as for `dm`.
    """
    base = dm(images_per_class=images_per_class, data=data)
    paper = dataclasses.replace(
        base.renamed("kfs", paper=_PAPER),
        images=functools.partial(SharedDecoders.starting_at, decoders=3, code_channels=6),
        optimizer=adam,
        momentum=0.9,
        image_learning_rate=0.003,
    )
    paper = paper.because(
        "published: codes and tiny decoders shared by all classes, every code by every decoder, both learned; no code was "
        "released and the paper's sizes and rates were not at hand, so these are ours, untuned: 3 decoders of three "
        "convolutions, codes of 6 channels and a quarter of the sides, Adam 0.003, DM's 20,000 steps of 256 and DSA"
    )
    if is_paper(schedule):
        return paper
    changed = paper.with_values({"steps": 160, "batch_size": 64, "image_learning_rate": 0.01})
    return changed.because(
        "CPU schedule: 160 steps, batch 64, Adam 0.01, untuned; sizes as for the paper's schedule, ours"
    )
