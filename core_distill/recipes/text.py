"""SLDD's values for texts: sequences of embedded words are learned as images are."""

import dataclasses

from core_distill.recipes.recipe import Recipe
from core_distill.recipes.schedules import Schedule, is_paper, told_of
from core_distill.recipes.unrolled import SOFTENED, sldd
from core_distill.synthetic.initialise import noise, real_images


def sldd_text(*, images_per_class: int, data: str = "", schedule: Schedule = "paper") -> Recipe:
    """SLDD for texts (arXiv 1910.02551, section 4): soft labels and synthetic texts in the space of embeddings.

    `data` changes nothing. The real texts come embedded, see `core_distill.data.load_texts`.
    """
    recipe = dataclasses.replace(
        sldd(images_per_class=images_per_class, data=data),
        source=(
            f"{told_of(data, ('imdb',), 'IMDB')}released example for IMDB: one step on all texts x 5 passes, a learned step size "
            "each from 0.01, Adam 0.01 betas "
            "(0.5, 0.999), batch 1024, noise; departs: TextCNN of 100 filters over 3, 4 and 5 words, hashed embeddings of 32 "
            "words for learned ones or GloVe of up to 400, no dropout, an output for each class, for one of two, 2,500 steps (100 "
            "epochs) "
            f"decayed by a cosine for halving every 10 epochs; labels {SOFTENED}; evaluation does not use the step sizes"
        ),
        steps=2_500,
        initialise=noise,
        step_size=0.01,
        step_learning_rate=0.0001,
    )
    recipe = recipe.renamed(
        "sldd-text", paper="Soft-Label Dataset Distillation and Text Dataset Distillation, arXiv 1910.02551"
    )
    recipe = recipe.with_values({"network": "text-cnn", "inner_steps": 1, "inner_epochs": 5})
    if is_paper(schedule):
        return recipe
    changed = recipe.with_values(
        {
            "steps": 200,
            "batch_size": 256,
            "inner_epochs": 30,
            "inner_momentum": 0.9,
            "initialise": real_images,
            "image_learning_rate": 0.03,
            "label_learning_rate": 0.03,
            "step_learning_rate": 0.0002,
        }
    )
    return changed.because(
        "CPU schedule: 200 losses, batch 256, 30 steps on all texts with momentum 0.9, step sizes from 0.01 at 0.0002, real "
        "initialisation, Adam 0.03, untuned; else as for the paper schedule"
    )
