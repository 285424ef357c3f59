"""From a recipe and real data to a synthetic set: the three lines every caller would write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from core_distill.checkpoint import Checkpoint
from core_distill.data import ClassSampler
from core_distill.distill import Observer, distill
from core_distill.engine import Engine
from core_distill.networks import network_factory
from core_distill.networks.experts import ExpertTrajectories
from core_distill.progress import ShowProgress, silent
from core_distill.randomness import derive_generator
from core_distill.recipes.experts import train_experts_for
from core_distill.recipes.recipe import Recipe
from core_distill.synthetic import SyntheticSet
from core_distill.types import Method


class Plan(NamedTuple):
    """What `distill` takes: change any of it before running."""

    method: Method
    synthetic: SyntheticSet
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    experts: ExpertTrajectories | None = None


def prepare(
    real: ClassSampler,
    recipe: Recipe,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    experts_folder: Path | None = None,
    engine: Engine | None = None,
    show: ShowProgress = silent,
) -> Plan:
    """The method, the initial synthetic set and its optimizer for a recipe on `real`, all on `device`.

    A recipe with experts trains them first, on `engine`, or opens those of `experts_folder`: see `train_experts`. Values
    that the method refuses are refused before.
    """
    real = real.to(device)
    synthetic = initial_set(real, recipe, seed=seed)
    experts = train_experts_for(real, recipe, folder=experts_folder, engine=engine, show=show)
    method = recipe.method(
        real=real,
        new_network=network_factory(recipe.network, real.image_shape, real.num_classes),
        augment=recipe.augment,
        **({"experts": experts} if experts else {}),
    )
    optimizer = new_optimizer(synthetic, recipe)
    return Plan(method, synthetic, optimizer, new_scheduler(optimizer, recipe), experts)


def initial_set(real: ClassSampler, recipe: Recipe, *, seed: int) -> SyntheticSet:
    """The set before the first step, on the device of `real`."""
    images = recipe.initialise(real, recipe.images_per_class, derive_generator(seed, "initialise", device=real.device))
    targets = real.classes.repeat_interleave(recipe.images_per_class)
    num_step_sizes = recipe.step_sizes(recipe.values())
    return SyntheticSet(
        recipe.images(images),
        recipe.labels(targets, real.num_classes),
        classes=real.classes,
        num_classes=real.num_classes,
        images_per_class=recipe.images_per_class,
        mean=real.mean,
        std=real.std,
        step_size=[recipe.step_size] * num_step_sizes if num_step_sizes else recipe.step_size,
        learn_step_size=recipe.learn_step_size,
    ).to(real.device)


def new_optimizer(synthetic: SyntheticSet, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over whatever is learned, each kind at the recipe's learning rate."""
    groups: list[dict[str, Any]] = [
        {"params": list(synthetic.images.parameters()), "lr": recipe.image_learning_rate},
        {"params": list(synthetic.labels.parameters()), "lr": recipe.label_learning_rate},
    ]
    if synthetic.learn_step_size:
        groups.append({"params": [synthetic.step_size], "lr": recipe.step_learning_rate})
    return recipe.optimizer([group for group in groups if group["params"]], recipe.momentum)


def new_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe) -> LRScheduler:
    """The recipe's decay of every learning rate over its steps."""
    return LambdaLR(optimizer, lambda step: recipe.decay(step / recipe.steps))


def condense(
    real: ClassSampler,
    recipe: Recipe,
    *,
    seed: int,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
    observers: Sequence[Observer] = (),
    experts_folder: Path | None = None,
    engine: Engine | None = None,
) -> SyntheticSet:
    """Distil `real` by `recipe`; see `core_distill.distill.distill` for resuming, observers and errors."""
    plan = prepare(real, recipe, seed=seed, device=device, experts_folder=experts_folder, engine=engine)
    return distill(
        plan.method,
        plan.synthetic,
        plan.optimizer,
        steps=recipe.steps,
        seed=seed,
        scheduler=plan.scheduler,
        checkpoint=checkpoint,
        engine=engine,
        observers=observers,
    )
