"""Training experts for trajectory matching, and going on where it was stopped."""

import functools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from core_distill.engine import DEFAULT_ENGINE, Engine, running_on, training_session
from core_distill.jobs import run_jobs
from core_distill.networks.norms import has_batch_statistics
from core_distill.progress import Remembering, ShowProgress, silent
from core_distill.randomness import derive_generator
from core_distill.training.expert_group import groups_of, train_group
from core_distill.training.expert_settings import ExpertTraining, expert_identity
from core_distill.training.experts import (
    ExpertFolder,
    ExpertTrajectories,
    Trajectory,
    check_trajectory,
    in_memory,
)
from core_distill.types import NetworkFactory, SiameseAugment

if TYPE_CHECKING:
    from core_distill.data import ClassSampler


def train_experts(
    real: "ClassSampler",
    new_network: NetworkFactory,
    training: ExpertTraining,
    *,
    augment: SiameseAugment,
    folder: Path | None = None,
    engine: Engine = DEFAULT_ENGINE,
    show: ShowProgress = silent,
    processes: int = 1,
    ray_address: str = "",
) -> ExpertTrajectories:
    """The experts on `real`, trained on its device; those that `folder` holds are opened instead.

    Trained one by one, or on a card several at once (`AT_ONCE`), and written when they, or all of their group, are done: a
    killed run goes on from there. On a CPU it ends with the same bytes; on a card, where another group may take up the
    rest, with the same up to rounding; so does another number of `processes`, since each has fewer threads. These, or the
    Ray cluster at `ray_address` (see `run_jobs`), train groups side by side, and this process writes them. Without a folder
    experts stay in memory, on the CPU. Raises `ExpertError` for files of
    other experts or damaged ones, and for training that diverges or does not move; `ValueError` for networks that
    normalise over the batch.
    """
    example = new_network(derive_generator(0, device=real.device))
    if has_batch_statistics(example):
        raise ValueError(
            "experts are networks without batch statistics, which are no parameters to match: "
            "use norm=instance, group or none"
        )
    shapes = {name: tuple(value.shape) for name, value in example.named_parameters()}
    identity = expert_identity(real, new_network, training, augment=augment, engine=engine)
    shelf = _shelf(folder, identity, shapes, training.training_epochs)
    found: list[Trajectory | None] = [shelf.find(number) for number in range(training.num_experts)]
    missing = [number for number, trajectory in enumerate(found) if trajectory is None]
    if missing:
        with show("train experts", training.num_experts * training.training_epochs) as advance:
            shown, done = Remembering(advance), training.num_experts - len(missing)
            here = processes == 1 and not ray_address
            seen = _Seen(shown, done * training.training_epochs) if here else _Unseen()
            train = functools.partial(_timed_group, real, new_network, training, augment, engine, seen)
            groups = groups_of(missing, example, training)
            for numbers, trained, spent in run_jobs(train, groups, processes=processes, ray_address=ray_address):
                for number, stacked in zip(numbers, trained, strict=True):
                    check_trajectory(stacked.values(), what=f"expert {number}")
                    found[number] = shelf.add(number, stacked, seconds=spent / len(numbers))
                done += len(numbers)
                seen.go_on_from(done * training.training_epochs)
                if not here:
                    shown(done * training.training_epochs, "epochs")
    seconds = shelf.seconds()
    return ExpertTrajectories(
        [trajectory for trajectory in found if trajectory is not None],
        epochs=training.training_epochs,
        seconds=sum(seconds.get(str(number), 0.0) for number in range(training.num_experts)),
    )


def _shelf(
    folder: Path | None, identity: dict[str, object], shapes: dict[str, tuple[int, ...]], epochs: int
) -> "ExpertFolder | _Memory":
    """Where experts are kept."""
    if folder is None:
        return _Memory()
    if "<" in str(identity["network"]):
        raise ValueError(
            f"experts in a folder are found again by their network's name, and {identity['network']} has a part without one: "
            "define functions at the top of a module, or keep the experts in memory"
        )
    return ExpertFolder(folder, identity=identity, shapes=shapes, epochs=epochs)


def _timed_group(
    real: "ClassSampler",
    new_network: NetworkFactory,
    training: ExpertTraining,
    augment: SiameseAugment,
    engine: Engine,
    seen: "_Seen | _Unseen",
    numbers: Sequence[int],
) -> tuple[Sequence[int], list[dict[str, Tensor]], float]:
    """A group of experts, with its numbers and the seconds it took."""
    start = time.monotonic()
    images = training.training_images or len(real)
    session = training_session(  # one for each group: resumed ones are alike
        engine,
        new_network(derive_generator(0, device=real.device)),
        real.image_shape,
        len(numbers) * training.training_epochs * images * training.passes,
        real.device,
        tell=seen.tell,
    )
    with running_on(session):
        trained = train_group(real, new_network, training, numbers, augment=augment, watch=seen.watch)
    return numbers, trained, time.monotonic() - start


class _Seen:
    """Progress of a group, counted from the epochs of those before it."""

    def __init__(self, shown: Remembering, before: int) -> None:
        self._shown, self._before = shown, before

    def go_on_from(self, before: int) -> None:
        self._before = before

    def watch(self, epochs: int) -> None:
        self._shown(self._before + epochs, "epochs")

    def tell(self, what: str) -> None:
        self._shown.note(what)


class _Unseen:
    """What another process says of its progress."""

    def go_on_from(self, before: int) -> None:
        """Nobody asks."""

    def watch(self, epochs: int) -> None:
        """Nobody looks."""

    def tell(self, what: str) -> None:
        """Nobody hears."""


class _Memory:
    """Where experts are kept without a folder."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def find(self, number: int) -> Trajectory | None:
        return None

    def add(self, number: int, stacked: Mapping[str, Tensor], *, seconds: float) -> Trajectory:
        self._seconds[str(number)] = seconds
        return in_memory(stacked)

    def seconds(self) -> dict[str, float]:
        return self._seconds
