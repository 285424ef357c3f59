"""From a recipe and real data to a synthetic set: the three lines every caller would write."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from core_distill.checkpoint import Checkpoint
from core_distill.data import ClassSampler
from core_distill.distill import Observer, distill
from core_distill.networks import network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes.recipe import Recipe
from core_distill.synthetic import SyntheticSet
from core_distill.types import Method


class Plan(NamedTuple):
    """What `distill` takes: change any of it before running."""

    method: Method
    synthetic: SyntheticSet
    optimizer: torch.optim.Optimizer


def prepare(real: ClassSampler, recipe: Recipe, *, seed: int, device: str | torch.device = "cpu") -> Plan:
    """The method, the initial synthetic set and its optimizer for a recipe on `real`, all on `device`."""
    real = real.to(device)
    synthetic = initial_set(real, recipe, seed=seed)
    method = recipe.method(
        real=real,
        new_network=network_factory(recipe.network, real.image_shape, real.num_classes),
        augment=recipe.augment,
    )
    return Plan(method, synthetic, new_optimizer(synthetic, recipe))


def initial_set(real: ClassSampler, recipe: Recipe, *, seed: int) -> SyntheticSet:
    """The set before the first step, on the device of `real`."""
    images = recipe.initialise(real, recipe.images_per_class, derive_generator(seed, "initialise", device=real.device))
    targets = real.classes.repeat_interleave(recipe.images_per_class)
    return SyntheticSet(
        recipe.images(images),
        recipe.labels(targets, real.num_classes),
        classes=real.classes,
        num_classes=real.num_classes,
        images_per_class=recipe.images_per_class,
        mean=real.mean,
        std=real.std,
        learn_step_size=recipe.learn_step_size,
    ).to(real.device)


def new_optimizer(synthetic: SyntheticSet, recipe: Recipe) -> torch.optim.Optimizer:
    """SGD over whatever is learned, each kind at the recipe's learning rate."""
    groups = [
        {"params": list(synthetic.images.parameters()), "lr": recipe.image_learning_rate},
        {"params": list(synthetic.labels.parameters()), "lr": recipe.label_learning_rate},
    ]
    if synthetic.learn_step_size:
        groups.append({"params": [synthetic.step_size], "lr": recipe.step_learning_rate})
    return torch.optim.SGD([group for group in groups if group["params"]], momentum=recipe.momentum)


def condense(
    real: ClassSampler,
    recipe: Recipe,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
    observers: Sequence[Observer] = (),
) -> SyntheticSet:
    """Distil `real` by `recipe`; see `core_distill.distill.distill` for resuming, observers and errors."""
    plan = prepare(real, recipe, seed=seed, device=device)
    return distill(
        plan.method,
        plan.synthetic,
        plan.optimizer,
        steps=recipe.steps,
        seed=seed,
        checkpoint=checkpoint,
        observers=observers,
    )
