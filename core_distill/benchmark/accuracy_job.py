"""One row of the accuracy benchmark, in a process of its own: distil for so many minutes, or choose real images; score."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core_distill.augment import dsa_for
from core_distill.data import DataSplits, load_data
from core_distill.distill import Progress, distill
from core_distill.engine import Engine, running_on
from core_distill.evaluation import Protocol, Selection, evaluate, select_baselines
from core_distill.experiment import Experiment, run_experiment
from core_distill.files import write_atomically
from core_distill.peak_memory import lower_peak, peak_bytes
from core_distill.recipes import Recipe, find_recipe, prepare, train_experts_for
from core_distill.synthetic.storage import load_artefact
from core_distill.types import Batch

_PROGRAM = "from core_distill.benchmark.accuracy_job import answer; answer()"
_SHARE = 0.1
"""Of a row's minutes, to count how long a step takes; this time is not counted."""


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
    networks: int
    epochs: int
    schedule: Any
    device: str
    engine: dict[str, Any]
    changes: dict[str, str]
    out: str
    experts: str = ""

    @property
    def name(self) -> str:
        return f"{self.what}-ipc{self.images_per_class}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        return Path(self.out) / "rows" / self.name

    def only_experts(self) -> "Job":
        """The job that trains this one's experts."""
        return replace(self, kind="experts")


def do(job: Job) -> tuple[str, dict[str, Any]]:
    """Run a job in a fresh process; its name and its row, which says `failed` with the reason where it did."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(asdict(job)), stdout=subprocess.PIPE, text=True, check=False
    )
    path = job.folder / "row.json"
    row: dict[str, Any] = {
        "kind": job.kind,
        "what": job.what,
        "images_per_class": job.images_per_class,
        "seed": job.seed,
    }
    if process.returncode == 0 and path.exists():
        return job.name, row | json.loads(path.read_text())
    last = (process.stdout.strip().splitlines() or [f"the process ended with {process.returncode}"])[-1]
    return job.name, row | ({} if process.returncode == 0 else {"failed": last})


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
    write_atomically(job.folder / "row.json", (json.dumps(row, indent=2, sort_keys=True) + "\n").encode())


def recipe_of(job: Job) -> Recipe:
    """The recipe of a job, with those of its changes that the recipe has."""
    recipe = find_recipe(job.what, images_per_class=job.images_per_class, data=job.data, schedule=job.schedule)
    known = recipe.values()
    return recipe.with_values({name: value for name, value in job.changes.items() if name in known})


def steps_for(minutes: float, seconds_at: list[float]) -> int:
    """How many steps `minutes` are worth, by when each of the first steps ended (seconds): the later half counts."""
    middle = len(seconds_at) // 2
    spent = seconds_at[-1] - seconds_at[middle]
    each = spent / (len(seconds_at) - 1 - middle) if spent > 0 else seconds_at[-1] / len(seconds_at)
    return max(1, round(60 * minutes / each))


class _EnoughError(Exception):
    pass


def _counted(job: Job, recipe: Recipe, data: DataSplits) -> int:
    """The steps of a row, counted once and kept."""
    path = job.folder / "steps.json"
    if path.exists():
        return int(json.loads(path.read_text())["steps"])
    plan = prepare(
        data.train,
        recipe,
        seed=job.seed,
        device=job.device,
        experts_folder=Path(job.experts) if job.experts else None,
        engine=_engine(job),
    )
    ended: list[float] = []
    start = time.monotonic()

    def look(progress: Progress) -> None:
        progress.loss.item()
        ended.append(time.monotonic() - start)
        if ended[-1] > 60 * _SHARE * job.minutes and len(ended) > 1:
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
        )
    steps = steps_for(job.minutes, ended)
    write_atomically(path, json.dumps({"steps": steps}).encode())
    return steps


def _distilled(job: Job) -> dict[str, Any]:
    recipe, data = recipe_of(job), _data(job)
    if job.minutes:
        recipe = replace(recipe, steps=_counted(job, recipe, data))
    device = torch.device(job.device)
    lower_peak(device)
    experiment = Experiment(
        data=data, recipe=recipe, seed=job.seed, device=job.device, protocol=None, baselines=(), engine=_engine(job)
    )
    folder = Path(job.experts) if job.experts else None
    results = run_experiment(experiment, job.folder / "run", experts_folder=folder)
    peak = peak_bytes(device)
    released = load_artefact(job.folder / "run" / "synthetic.safetensors")
    own = released.synthetic.to(job.device)
    return {
        "paper": recipe.paper,
        "source": recipe.source,
        "steps": recipe.steps,
        "seconds": results["distillation_seconds"],
        "expert_seconds": results.get("expert_seconds", 0.0),
        "start_seconds": results.get("start_seconds", 0.0),
        "peak_bytes": peak,
        "bytes": released.tensor_bytes,
        "images": len(own),
        **_scored(job, recipe, own.batch(), data),
    }


def _baseline(job: Job) -> dict[str, Any]:
    data = _data(job)
    network = recipe_of(replace(job, what="dm")).network
    size = job.images_per_class * len(data.train.classes) * (data.train.take(torch.arange(1)).images[0].numel() + 1)
    with running_on(replace(_engine(job), precision="float32")):
        (found,) = select_baselines(
            data.train.to(job.device), budget_bytes=size, network=network, seed=job.seed, names=(job.what,)
        )
    selection: Selection = found
    return {"bytes": selection.num_bytes, "images": len(selection.batch.labels)} | _scored(
        job, recipe_of(replace(job, what="dm")), selection.batch, data
    )


def _scored(job: Job, recipe: Recipe, batch: Batch, data: DataSplits) -> dict[str, Any]:
    protocol = Protocol(
        network=recipe.network, num_networks=job.networks, epochs=job.epochs, augment=dsa_for(data.name)
    )
    start = time.monotonic()
    score = evaluate(batch, data.test.to(job.device), protocol, seed=job.seed, engine=_engine(job))
    return {"accuracy": score.as_json(), "evaluation_seconds": round(time.monotonic() - start, 1)}


def _data(job: Job) -> DataSplits:
    return load_data(job.data, data_dir=Path(job.data_dir) if job.data_dir else None)


def _engine(job: Job) -> Engine:
    return Engine(**job.engine)
