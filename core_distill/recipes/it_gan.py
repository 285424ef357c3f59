"""IT-GAN's values: DM on the latent vectors of a frozen generator."""

import dataclasses
import functools

from core_distill.recipes.distribution_matching import dm
from core_distill.recipes.optimizers import adam
from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper
from core_distill.synthetic.latents import Latents

_PAPER = "Synthesizing Informative Training Samples with GAN, arXiv 2204.07513"


def it_gan(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """IT-GAN (arXiv 2204.07513): latent vectors of a generator, found by inversion, then moved to match as by DM.

    The generator is stored with them and not within the budget: see `Latents`. `data` is the data set's name, as for `dm`.
    """
    base = dm(images_per_class=images_per_class, data=data)
    latent = 32 if data == "digits" else 128
    images = functools.partial(Latents.starting_at, latent=latent, generator_width=64, generator_steps=20_000)
    paper = dataclasses.replace(
        base.renamed("it-gan", paper=_PAPER),
        images=images,
        optimizer=adam,
        momentum=0.9,
        image_learning_rate=0.001,
    )
    paper = paper.because(
        f"published: a frozen conditional generator, latents of 128 values (here {latent}) started by inversion (pixels and "
        "features, rate 0.1), then the loss of DM at rate 0.001, as the released files are named; departs: a small generator "
        "trained here in place of BigGAN, latents for a budget of images in place of every training image, no term that "
        "holds images near those inverted; Adam and the generator's values are ours, untuned"
    )
    if is_paper(schedule):
        return paper
    values = {"latent": 32, "most_latents": 4, "generator_width": 32, "generator_steps": 800, "inversion_steps": 40}
    changed = paper.with_values({**values, "steps": 150, "batch_size": 64, "image_learning_rate": 0.01})
    return changed.because(
        "CPU schedule: 150 steps, batch 64, 4 latents of 32 values for an image at Adam 0.01, a generator of width 32 and 800 "
        "steps, 40 of inversion, untuned; departs from the paper as its schedule does"
    )
