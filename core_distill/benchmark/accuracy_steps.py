"""How many steps the minutes of a row are worth: counted in its first steps, once for all seeds."""

import contextlib
import json
import time
from dataclasses import replace
from typing import NamedTuple

from core_distill.benchmark.accuracy_row import Job
from core_distill.data import DataSplits
from core_distill.distill import Progress, distill
from core_distill.files import write_atomically
from core_distill.recipes import Recipe, prepare

_MANY, _SHARES = 1_000_000, (0.025, 0.1)
"""Steps of the run that is looked at first, and shares of a row's minutes to count how long a step takes, first and again;
this time is not counted."""

_STEPS = "steps.json"
"""In a row's folder: how many steps its minutes are worth."""

_FEWEST, _LONGEST = 3, 5
"""Steps that are counted at least, and how many times the planned time counting may take."""


def steps_for(minutes: float, seconds_at: list[float]) -> int:
    """How many steps `minutes` are worth, by when each of a few steps ended (seconds); at least one is needed."""
    intervals = len(seconds_at) - 1
    each = (seconds_at[-1] - seconds_at[0]) / intervals if intervals else seconds_at[0]
    return max(1, round(60 * minutes / max(each, 1e-6)))


class _EnoughError(Exception):
    """Enough steps were counted."""


class Counted(NamedTuple):
    """The steps of a row, and the seconds that making its first set took: what it trains is there when the row begins."""

    steps: int
    start_seconds: float = 0.0


def count_steps(job: Job, recipe: Recipe, data: DataSplits) -> Counted:
    """What is counted once and kept: a row that goes on has as many steps as when it began.

    One that another seed was counted for takes as many steps as that, so that seeds differ by nothing else.
    """
    path = job.folder / _STEPS
    if path.exists():
        return Counted(**json.loads(path.read_text()))
    others = sorted(job.folder.parent.glob(f"{job.other_seeds}/{_STEPS}"))
    counted = Counted(json.loads(others[0].read_text())["steps"]) if others else _looked_at(job, recipe, data)
    write_atomically(path, json.dumps(counted._asdict()).encode())
    return counted


def _looked_at(job: Job, recipe: Recipe, data: DataSplits) -> Counted:
    """How many steps decides what the row compiles, so a first look at very many says of how many the second one is."""
    job.tell(f"counting how many steps {job.minutes:g} minutes are worth")
    counted = Counted(_MANY)
    for share in _SHARES:
        ended, started = _ended(job, replace(recipe, steps=counted.steps), data, window=60 * share * job.minutes)
        counted = Counted(steps_for(job.minutes, ended), max(started, counted.start_seconds))
    return counted


def _ended(job: Job, recipe: Recipe, data: DataSplits, *, window: float) -> tuple[list[float], float]:
    """When each of the first steps of a recipe ended, in seconds; when compiling is done, it starts anew.

    Beside it the seconds that the first set took.
    """
    plan = prepare(data.train, recipe, seed=job.seed, device=job.device, experts_folder=job.kept, engine=job.running())
    start, ended = time.monotonic(), list[float]()

    def look(progress: Progress) -> None:
        progress.loss.item()
        ended.append(time.monotonic() - start)
        counted = ended[-1] - ended[0]
        if len(ended) > _FEWEST and (counted > window or ended[-1] > _LONGEST * window):
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        distill(
            plan.method,
            plan.synthetic,
            plan.optimizer,
            steps=recipe.steps,
            seed=job.seed,
            observers=[look],
            engine=job.running(),
            tell=lambda _: ended.clear(),
        )
    return ended, plan.start_seconds
