"""One row of the accuracy benchmark, in a process of its own: distil for so many minutes, or choose real images; score."""

import contextlib
import functools
import glob
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core_distill.augment import dsa_for
from core_distill.data import DataSplits, load_whitened
from core_distill.distill import Progress, distill
from core_distill.engine import Engine, running_on
from core_distill.evaluation import Protocol, evaluate, select_baselines
from core_distill.experiment import Experiment, run_experiment
from core_distill.files import write_atomically
from core_distill.networks import NETWORKS, Architecture
from core_distill.peak_memory import Peak
from core_distill.recipes import Recipe, prepare, train_experts_for, typed_recipe
from core_distill.recipes.recipe import PARTS
from core_distill.recipes.values import keywords, read
from core_distill.synthetic.storage import load_artefact
from core_distill.types import Batch

_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "  # who interrupts is told once, by the process that asked
    "from core_distill.benchmark.accuracy_job import answer; answer()"
)
_MANY, _SHARES = 1_000_000, (0.025, 0.1)
"""Steps of the run that is looked at first, and shares of a row's minutes to count how long a step takes, first and again;
this time is not counted."""

_STEPS = "steps.json"
"""In a row's folder: how many steps its minutes are worth."""

_FEWEST, _LONGEST = 3, 5
"""Steps that are counted at least, and how many times the planned time counting may take."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one row is, as JSON values: `kind` is `recipe`, `baseline` or `experts`, `what` its name."""

    kind: str
    what: str
    images_per_class: int
    seed: int
    data: str
    data_dir: str
    minutes: float
    network: str
    networks: int
    epochs: int
    schedule: Any
    device: str
    engine: dict[str, Any]
    changes: dict[str, str]
    out: str
    experts: str = ""
    whiten: float = 0.0

    @property
    def name(self) -> str:
        return f"{self._of_any_seed}{self.seed}"

    @property
    def other_seeds(self) -> str:
        """A pattern of the names that the same row has for whatever seed."""
        return f"{glob.escape(self._of_any_seed)}*"

    @property
    def _of_any_seed(self) -> str:
        what = Path(self.what).name.replace(":", "-")  # a recipe of one's own is a path and a function
        return f"{what}-ipc{self.images_per_class}-seed"

    @property
    def folder(self) -> Path:
        return Path(self.out) / "rows" / self.name

    @property
    def row(self) -> dict[str, Any]:
        """What a row says before it is measured."""
        names = ("kind", "what", "images_per_class", "seed")
        return {name: getattr(self, name) for name in names}

    @property
    def kept(self) -> Path:
        """Where what is trained beforehand is kept: the experts' folder, which rows share, or one of the row's own."""
        return Path(self.experts) if self.experts else self.folder / "kept"

    def only_experts(self) -> "Job":
        """The job that trains this one's experts."""
        return replace(self, kind="experts")


def do(job: Job) -> tuple[str, dict[str, Any]]:
    """Run a job in a fresh process; its name and its row, which says `failed` with the reason where it did.

    A row that was measured before, and not yet written down by who asked, is not measured again.
    """
    path = job.folder / "row.json"
    row = job.row
    if job.kind == "experts" or not path.exists():
        process = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(asdict(job)),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if process.returncode:
            said = process.stdout.strip().splitlines() or [f"the process ended with {process.returncode}"]
            return job.name, row | {"failed": said[-1]}
    return job.name, row | (json.loads(path.read_text()) if path.exists() else {})


def answer() -> None:
    """What the fresh process does: read the job from standard input and write its row, or say why it could not."""
    job = Job(**json.load(sys.stdin))
    try:
        if job.kind == "experts":
            recipe, data = recipe_of(job), _data(job)
            train_experts_for(data.train.to(job.device), recipe, folder=Path(job.experts), engine=_engine(job))
            return
        row = _baseline(job) if job.kind == "baseline" else _distilled(job)
    except (ValueError, RuntimeError, MemoryError, OSError) as error:
        sys.stdout.write(" ".join(f"{type(error).__name__}: {error}".split()) + "\n")
        sys.exit(1)
    write_atomically(job.folder / "row.json", (json.dumps(job.row | row, indent=2, sort_keys=True) + "\n").encode())


def recipe_of(job: Job) -> Recipe:
    """The recipe of a job, with those of its changes that the recipe has, also by what another change brings along."""
    recipe = typed_recipe(job.what, images_per_class=job.images_per_class, data=job.data, schedule=job.schedule)
    left = dict(job.changes)
    while known := {name: value for name, value in left.items() if name in recipe.values()}:
        parts = {name: value for name, value in known.items() if name in PARTS} or known
        recipe = recipe.with_values(parts)
        left = {name: value for name, value in left.items() if name not in parts}
    return recipe


def differs(recipe: Recipe, published: Job) -> dict[str, list[Any]]:
    """Values of `recipe` that are not those of the job `published`, each with those; of one that only one has, None."""
    ours, theirs = recipe.values(), recipe_of(published).values()
    names = sorted(ours.keys() | theirs.keys())
    return {name: [ours.get(name), theirs.get(name)] for name in names if ours.get(name) != theirs.get(name)}


def evaluation_network(job: Job) -> Architecture:
    """The network that every row is scored on, with those of the job's changes that it has."""
    network = NETWORKS[job.network]
    known = keywords(network)
    options = {name: read(name, value, known[name]) for name, value in job.changes.items() if name in known}
    return functools.partial(network, **options) if options else network


def steps_for(minutes: float, seconds_at: list[float]) -> int:
    """How many steps `minutes` are worth, by when each of a few steps ended (seconds); at least one is needed."""
    intervals = len(seconds_at) - 1
    each = (seconds_at[-1] - seconds_at[0]) / intervals if intervals else seconds_at[0]
    return max(1, round(60 * minutes / max(each, 1e-6)))


class _EnoughError(Exception):
    """Enough steps were counted."""


class _Counted(NamedTuple):
    """The steps of a row, and the seconds that making its first set took: what it trains is there when the row begins."""

    steps: int
    start_seconds: float = 0.0


def _counted(job: Job, recipe: Recipe, data: DataSplits) -> _Counted:
    """What is counted once and kept: a row that goes on has as many steps as when it began.

    One that another seed was counted for takes as many steps as that, so that seeds differ by nothing else.
    """
    path = job.folder / _STEPS
    if path.exists():
        return _Counted(**json.loads(path.read_text()))
    others = sorted(job.folder.parent.glob(f"{job.other_seeds}/{_STEPS}"))
    counted = _Counted(json.loads(others[0].read_text())["steps"]) if others else _looked_at(job, recipe, data)
    write_atomically(path, json.dumps(counted._asdict()).encode())
    return counted


def _looked_at(job: Job, recipe: Recipe, data: DataSplits) -> _Counted:
    """How many steps decides what the row compiles, so a first look at very many says of how many the second one is."""
    _tell(job, f"counting how many steps {job.minutes:g} minutes are worth")
    counted = _Counted(_MANY)
    for share in _SHARES:
        ended, started = _ended(job, replace(recipe, steps=counted.steps), data, window=60 * share * job.minutes)
        counted = _Counted(steps_for(job.minutes, ended), max(started, counted.start_seconds))
    return counted


def _ended(job: Job, recipe: Recipe, data: DataSplits, *, window: float) -> tuple[list[float], float]:
    """When each of the first steps of a recipe ended, in seconds; when compiling is done, it starts anew.

    Beside it the seconds that the first set took.
    """
    plan = prepare(data.train, recipe, seed=job.seed, device=job.device, experts_folder=job.kept, engine=_engine(job))
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
            engine=_engine(job),
            tell=lambda _: ended.clear(),
        )
    return ended, plan.start_seconds


def _distilled(job: Job) -> dict[str, Any]:
    recipe, data = recipe_of(job), _data(job)
    counted = _counted(job, recipe, data) if job.minutes else _Counted(recipe.steps)
    recipe = replace(recipe, steps=counted.steps)
    _tell(job, f"steps: {recipe.steps:,}")
    experiment = Experiment(
        data=data, recipe=recipe, seed=job.seed, device=job.device, protocol=None, baselines=(), engine=_engine(job)
    )
    results = run_experiment(experiment, job.folder / "run", experts_folder=job.kept)
    released = load_artefact(job.folder / "run")
    own = released.synthetic.to(job.device)
    return {
        "paper": recipe.paper,
        "source": recipe.source,
        "differs": differs(recipe, replace(job, schedule="paper", changes={})),
        "steps": recipe.steps,
        "seconds": results["distillation_seconds"],
        "expert_seconds": results.get("expert_seconds", 0.0),
        "start_seconds": max(results["start_seconds"], round(counted.start_seconds, 1)),
        "peak_bytes": results["distillation_peak_bytes"],
        "bytes": released.tensor_bytes,
        "images": len(own),
        **_scored(job, own.batch(), data),
    }


def _baseline(job: Job) -> dict[str, Any]:
    data = _data(job)
    size = job.images_per_class * len(data.train.classes) * (math.prod(data.train.image_shape) + 1)
    start, peak = time.monotonic(), Peak(torch.device(job.device))
    _tell(job, "choosing real images")
    with running_on(replace(_engine(job), precision="float32")):
        (selection,) = select_baselines(
            data.train.to(job.device),
            budget_bytes=size,
            network=evaluation_network(job),
            seed=job.seed,
            names=(job.what,),
        )
    spent = {"start_seconds": round(time.monotonic() - start, 1), "peak_bytes": peak.num_bytes}
    own = {"bytes": selection.num_bytes, "images": len(selection.batch.labels)}
    return own | spent | _scored(job, selection.batch, data)


def _scored(job: Job, batch: Batch, data: DataSplits) -> dict[str, Any]:
    protocol = Protocol(
        network=evaluation_network(job), num_networks=job.networks, epochs=job.epochs, augment=dsa_for(data.name)
    )
    start = time.monotonic()
    _tell(job, f"training {job.networks} networks on {len(batch.labels):,} images")
    score = evaluate(batch, data.test.to(job.device), protocol, seed=job.seed, engine=_engine(job))
    return {"accuracy": score.as_json(), "evaluation_seconds": round(time.monotonic() - start, 1)}


def _tell(job: Job, what: str) -> None:
    """Say what a row is at, to who looks at the command's errors: rows take minutes and are written when they are done."""
    sys.stderr.write(f"{job.name}: {what}\n")


def _data(job: Job) -> DataSplits:
    return load_whitened(job.data, data_dir=job.data_dir or None, epsilon=job.whiten)


def _engine(job: Job) -> Engine:
    return Engine(**job.engine)
