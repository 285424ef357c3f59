"""One row of the accuracy benchmark, in a process of its own: distil for so many minutes, or choose real images; score."""

import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from core_distill.augment import dsa_for
from core_distill.benchmark.accuracy_row import Job, differs, evaluation_network, recipe_of
from core_distill.benchmark.accuracy_steps import Counted, count_steps
from core_distill.data import DataSplits, load_whitened
from core_distill.engine import running_on
from core_distill.evaluation import Protocol, evaluate, select_baselines
from core_distill.experiment import Experiment, run_experiment
from core_distill.files import write_atomically
from core_distill.peak_memory import Peak
from core_distill.recipes import train_experts_for
from core_distill.synthetic.storage import load_artefact
from core_distill.types import Batch

_PROGRAM = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); "  # who interrupts is told once, by the process that asked
    "from core_distill.benchmark.accuracy_job import answer; answer()"
)


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
            train_experts_for(data.train.to(job.device), recipe, folder=Path(job.experts), engine=job.running())
            return
        row = _baseline(job) if job.kind == "baseline" else _distilled(job)
    except (ValueError, RuntimeError, MemoryError, OSError) as error:
        sys.stdout.write(" ".join(f"{type(error).__name__}: {error}".split()) + "\n")
        sys.exit(1)
    write_atomically(job.folder / "row.json", (json.dumps(job.row | row, indent=2, sort_keys=True) + "\n").encode())


def _distilled(job: Job) -> dict[str, Any]:
    recipe, data = recipe_of(job), _data(job)
    counted = count_steps(job, recipe, data) if job.minutes else Counted(recipe.steps)
    recipe = replace(recipe, steps=counted.steps)
    job.tell(f"steps: {recipe.steps:,}")
    experiment = Experiment(
        data=data, recipe=recipe, seed=job.seed, device=job.device, protocol=None, baselines=(), engine=job.running()
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
    job.tell("choosing real images")
    with running_on(replace(job.running(), precision="float32")):
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
    job.tell(f"training {job.networks} networks on {len(batch.labels):,} images")
    score = evaluate(batch, data.test.to(job.device), protocol, seed=job.seed, engine=job.running())
    return {"accuracy": score.as_json(), "evaluation_seconds": round(time.monotonic() - start, 1)}


def _data(job: Job) -> DataSplits:
    return load_whitened(job.data, data_dir=job.data_dir or None, epsilon=job.whiten)
