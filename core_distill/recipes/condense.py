"""From a recipe and real data to a synthetic set: the three lines every caller would write."""

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from core_distill.averaging import Average
from core_distill.checkpoint import Checkpoint
from core_distill.data import ClassSampler
from core_distill.distill import Observer, distill
from core_distill.engine import Engine, Tell, chosen, ignore, running_on
from core_distill.networks import network_factory
from core_distill.progress import ShowProgress, silent
from core_distill.randomness import derive_generator
from core_distill.recipes.experts import mean_logits, train_experts_for
from core_distill.recipes.new_method import new_method
from core_distill.recipes.recipe import Recipe
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.start import Start, slots_of
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Method, Stateful


class Plan(NamedTuple):
    """What `run_plan` takes: change any of it before running.

    Whoever calls `distill` instead gives it `average` both as an observer and in the state, and then releases
    `average.write_to(synthetic)`. `start_seconds` is what making the initial set took, with all that it trained.
    """

    method: Method
    synthetic: SyntheticSet
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler
    average: Average
    experts: ExpertTrajectories | None = None
    start_seconds: float = 0.0


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
    that the method refuses are refused before. Raises `TypeError` for splits, of which it is to see the train part alone.
    """
    if not isinstance(real, ClassSampler):
        raise TypeError(f"a ClassSampler is distilled, such as load_data(...).train; got {type(real).__name__}")
    real = real.to(device)
    experts = train_experts_for(real, recipe, folder=experts_folder, engine=engine, show=show)
    started = time.monotonic()
    synthetic = initial_set(real, recipe, seed=seed, experts=experts, engine=engine, folder=experts_folder, show=show)
    spent = time.monotonic() - started
    method = new_method(recipe, real, experts=experts)
    optimizer = new_optimizer(synthetic, recipe)
    average = Average(synthetic, decay=recipe.average)
    return Plan(method, synthetic, optimizer, new_scheduler(optimizer, recipe), average, experts, spent)


def initial_set(
    real: ClassSampler,
    recipe: Recipe,
    *,
    seed: int,
    experts: ExpertTrajectories | None = None,
    engine: Engine | None = None,
    folder: Path | None = None,
    show: ShowProgress = silent,
) -> SyntheticSet:
    """The set before the first step, on the device of `real`; `experts` teach labels and images that ask.

    What images train beforehand they keep in `folder`. Raises `ValueError` where a teacher is needed and `experts` are none.
    """
    new_network = network_factory(recipe.network, real.image_shape, real.num_classes)
    start = Start(
        real=real,
        images_per_class=recipe.images_per_class,
        initialise=recipe.initialise,
        new_network=new_network,
        generator=derive_generator(seed, "initialise", device=real.device),
        teacher=functools.partial(mean_logits, experts, new_network) if experts else None,
        folder=folder,
        show=show,
    )
    with running_on(chosen(engine)):
        images = recipe.images(start).to(real.device)
        slots = slots_of(start, images)
        labels = recipe.labels(slots)
    if "images" not in recipe.learned:
        images.requires_grad_(False)
    num_step_sizes = recipe.step_sizes(recipe.values())
    return SyntheticSet(
        images,
        labels,
        classes=real.classes,
        num_classes=real.num_classes,
        images_per_class=len(slots.targets) // len(real.classes),
        mean=real.mean,
        std=real.std,
        step_size=[recipe.step_size] * num_step_sizes if num_step_sizes else recipe.step_size,
        learn_step_size=recipe.learn_step_size,
    ).to(real.device)


def new_optimizer(synthetic: SyntheticSet, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer over whatever is learned, each kind at the recipe's learning rate."""
    groups: list[dict[str, Any]] = [
        {"params": [value for value in module.parameters() if value.requires_grad], "lr": rate}
        for module, rate in (
            (synthetic.images, recipe.image_learning_rate),
            (synthetic.labels, recipe.label_learning_rate),
        )
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
    return run_plan(plan, steps=recipe.steps, seed=seed, checkpoint=checkpoint, engine=engine, observers=observers)


def run_plan(
    plan: Plan,
    *,
    steps: int,
    seed: int,
    checkpoint: Checkpoint | None = None,
    state: Mapping[str, Stateful] | None = None,
    observers: Sequence[Observer] = (),
    engine: Engine | None = None,
    tell: Tell = ignore,
) -> SyntheticSet:
    """`distill` by a plan, with what else belongs to it; returns what is released: the set, or its average."""
    distill(
        plan.method,
        plan.synthetic,
        plan.optimizer,
        steps=steps,
        seed=seed,
        scheduler=plan.scheduler,
        checkpoint=checkpoint,
        state={"average": plan.average, **(state or {})},
        observers=[plan.average, *observers],
        engine=engine,
        tell=tell,
    )
    return plan.average.write_to(plan.synthetic)
