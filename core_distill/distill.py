"""The outer loop: take a method's losses one at a time, update the synthetic set, resume where a run was killed."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from core_distill.checkpoint import Checkpoint
from core_distill.engine import Engine, Tell, chosen, current, foresee, ignore, running_on
from core_distill.randomness import derive_generator
from core_distill.types import Method, Stateful

if TYPE_CHECKING:
    from core_distill.synthetic import SyntheticSet


class Progress(NamedTuple):
    """What an observer sees after each update; `loss` is a detached scalar tensor, still on its device."""

    step: int
    steps: int
    loss: Tensor
    synthetic: "SyntheticSet"


Observer = Callable[[Progress], None]


class DivergedError(ValueError):
    """The loss or what is learned is no longer finite; nothing was written after that."""


def distill(
    method: Method,
    synthetic: "SyntheticSet",
    optimizer: torch.optim.Optimizer,
    *,
    steps: int,
    seed: int,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    checkpoint: Checkpoint | None = None,
    state: Mapping[str, Stateful] | None = None,
    observers: Sequence[Observer] = (),
    engine: Engine | None = None,
    tell: Tell = ignore,
) -> "SyntheticSet":
    """Run episodes until `steps` losses were yielded, updating `synthetic` in place after each one.

    Args:
        optimizer: over the parameters of `synthetic`.
        seed: episode `e` gets its own generator, derived from `(seed, e)`.
        scheduler: of the optimizer's learning rates, stepped after each update.
        checkpoint: where to resume from and save to, at episode boundaries: a killed run ends with the same bits.
        state: whatever else outlives an episode (ledger, clock), saved with the checkpoint; a `Stateful` method is saved
            without being named here.
        engine: how networks run, by default as around this call; `tell` hears when something is compiled.

    Raises `ValueError` for fewer than one step, a method that yields nothing, or a learned tensor that the method cannot
    move; `DivergedError` when numbers stop being finite.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    parts: dict[str, Stateful] = {"synthetic": synthetic, "optimizer": optimizer, **(state or {})}
    if scheduler is not None:
        parts["scheduler"] = scheduler
    if isinstance(method, Stateful):
        parts["method"] = method
    with running_on(chosen(engine), tell=tell) as session, _noting(checkpoint):
        parts["engine"] = session
        _run_episodes(method, synthetic, optimizer, scheduler, steps, seed, checkpoint, parts, observers)
    return synthetic


@contextlib.contextmanager
def _noting(checkpoint: Checkpoint | None) -> Iterator[None]:
    """What the machine refuses, such as memory, is raised with a note of where the last checkpoint is."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if checkpoint and checkpoint.path.exists():
            error.add_note(f"the last checkpoint is {checkpoint.path}")
        raise


def _run_episodes(
    method: Method,
    synthetic: "SyntheticSet",
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None,
    steps: int,
    seed: int,
    checkpoint: Checkpoint | None,
    parts: Mapping[str, Stateful],
    observers: Sequence[Observer],
) -> None:
    step, episode = checkpoint.resume(parts) if checkpoint else (0, 0)
    learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    while step < steps:
        before = step
        for loss in method.episode(synthetic, derive_generator(seed, "episode", episode, device=synthetic.device)):
            _update(synthetic, optimizer, learned, loss, first=step == 0)
            if scheduler is not None:
                scheduler.step()
            step += 1
            foresee(current(), share=step / steps, device=synthetic.device)
            for observe in observers:
                observe(Progress(step, steps, loss.detach(), synthetic))
            if step == steps:
                break
        if step == before:
            raise ValueError(f"{type(method).__name__} yielded no loss in episode {episode}; check its step counts")
        episode += 1
        if checkpoint and (step == steps or checkpoint.is_due()):
            _refuse_divergence(synthetic, step, checkpoint)
            checkpoint.save(step, episode, parts)
    _refuse_divergence(synthetic, step, checkpoint)


def _update(
    synthetic: "SyntheticSet", optimizer: torch.optim.Optimizer, learned: list[Tensor], loss: Tensor, *, first: bool
) -> None:
    optimizer.zero_grad()
    if not isinstance(loss, Tensor) or loss.shape != ():
        found = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"a method yields losses that are scalar tensors, got {found}")
    if not loss.requires_grad:
        raise ValueError("the loss does not depend on anything that is learned")
    loss.backward(inputs=learned)
    if first:
        moving = [(name, value) for name, value in synthetic.named_parameters() if value.requires_grad]
        still = [name for name, parameter in moving if parameter.grad is None]
        if still:
            raise ValueError(
                f"this method gives no gradient to {', '.join(still)}: it would never move; "
                "use hard or given labels and a fixed step size, or a method that learns them"
            )
    optimizer.step()
    synthetic.constrain()


def _refuse_divergence(synthetic: "SyntheticSet", step: int, checkpoint: Checkpoint | None) -> None:
    broken = [name for name, value in synthetic.named_parameters() if not torch.isfinite(value).all()]
    if broken:
        kept = f"; the last good checkpoint is {checkpoint.path}" if checkpoint and checkpoint.path.exists() else ""
        raise DivergedError(
            f"{', '.join(broken)} is not finite after step {step}: lower the learning rate, or raise regularisation in a "
            f"recipe that has it{kept}"
        )
