"""The accuracy benchmark: many recipes for the same minutes, under one protocol, beside real images at equal bytes."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core_distill.benchmark.accuracy_job import Job, do, recipe_of
from core_distill.data import DataSplits, images_for_bytes, load_data
from core_distill.engine import DEFAULT_ENGINE, Engine
from core_distill.environment import hardware, versions
from core_distill.evaluation import check_baselines
from core_distill.files import write_atomically
from core_distill.jobs import run_jobs
from core_distill.recipes import RECIPES, expert_folder_name
from core_distill.recipes.schedules import Schedule

Report = Callable[[Mapping[str, Any]], None]
"""Called with all results so far whenever a row was added."""


@dataclass(frozen=True, kw_only=True)
class AccuracyPlan:
    """What is compared.

    Args:
        data, data_dir: see `load_data`.
        recipes: names; more may join a later call in the same folder.
        budgets: images a class.
        minutes: of distillation for each row; steps are counted before, so the time is met within the noise of the
            machine. 0 runs each recipe for its own steps.
        baselines: selections of real images, scored at every number of bytes that a row has.
        networks, epochs: of the evaluation.
        changes: values for every recipe that has them, such as `{"width": "64"}`.

    Raises `ValueError` for unknown names and numbers out of range.
    """

    data: str
    recipes: tuple[str, ...]
    data_dir: Path | None = None
    budgets: tuple[int, ...] = (10,)
    seeds: tuple[int, ...] = (0,)
    minutes: float = 6.0
    baselines: tuple[str, ...] = ("random", "kmeans")
    networks: int = 3
    epochs: int = 300
    schedule: Schedule = "cpu"
    device: str = "cpu"
    engine: Engine = DEFAULT_ENGINE
    changes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.recipes) - set(RECIPES))
        if unknown or not self.recipes:
            raise ValueError(
                f"no recipe is called {', '.join(unknown) or 'nothing'}; known: {', '.join(sorted(RECIPES))}"
            )
        check_baselines(self.baselines)
        if not self.minutes >= 0 or not self.budgets or not self.seeds:
            raise ValueError("minutes must be 0 or more, and there must be a budget and a seed")

    def shared(self) -> dict[str, object]:
        """What all rows of a folder have in common, as JSON values."""
        return {
            "data": self.data,
            "minutes": self.minutes,
            "networks": self.networks,
            "epochs": self.epochs,
            "schedule": self.schedule,
            "device": self.device.split(":")[0],
            "engine": self.engine.describe(),
            "changes": dict(self.changes),
            "versions": versions(),
        }


def run_accuracy(
    plan: AccuracyPlan, out: Path, *, command: str = "", processes: int = 1, ray_address: str = "", report: Report
) -> dict[str, Any]:
    """Run, or go on with, the benchmark in the folder `out`; returns all its results and calls `report` after each row.

    Every row runs in a process of its own, so that its peak memory is its own and one that fails leaves the others alone
    (its row says why; the same command tries it again). A row that was stopped goes on where it was. See `run_jobs` for
    `processes` and `ray_address`.

    Raises `ValueError` for a folder of another benchmark.
    """
    results = _opened(plan, out, command)
    data = load_data(plan.data, data_dir=plan.data_dir)
    wanted = _jobs(plan, data, out)

    def add(jobs: Sequence[Job]) -> None:
        missing = [job for job in jobs if "accuracy" not in results["rows"].get(job.name, {})]
        for name, row in run_jobs(do, missing, processes=processes, ray_address=ray_address):
            results["rows"][name] = row
            _write(out, results)
            report(results)

    experts = {job.experts: job for job in wanted if job.experts}
    for _ in run_jobs(
        do, [job.only_experts() for job in experts.values()], processes=processes, ray_address=ray_address
    ):
        pass
    add(_baseline_jobs(plan, out, plan.budgets))
    add(wanted)
    add(_baseline_jobs(plan, out, _affordable(results, data)))
    _write(out, results)
    report(results)
    return results


def _opened(plan: AccuracyPlan, out: Path, command: str) -> dict[str, Any]:
    path = out / "results.json"
    shared = json.loads(json.dumps(plan.shared()))
    if not path.exists():
        if out.exists() and any(out.iterdir()):
            raise ValueError(f"{out} exists and holds no accuracy benchmark; choose another output folder with --out")
        return {"shared": shared, "hardware": hardware(plan.device), "commands": [command], "rows": {}}
    results: dict[str, Any] = json.loads(path.read_text())
    other = sorted(name for name in shared if results["shared"].get(name) != shared[name])
    if other:
        told = "; ".join(f"{name} is {results['shared'].get(name)}, now {shared[name]}" for name in other)
        raise ValueError(f"{out} belongs to another benchmark ({told}); choose another output folder with --out")
    results["commands"] = list(dict.fromkeys([*results["commands"], command]))
    return results


def _jobs(plan: AccuracyPlan, data: DataSplits, out: Path) -> list[Job]:
    jobs = [
        _job(plan, out, "recipe", recipe, images_per_class, seed)
        for images_per_class in plan.budgets
        for recipe in plan.recipes
        for seed in plan.seeds
    ]

    @functools.cache
    def folder(recipe: str, images_per_class: int) -> str:
        made = recipe_of(_job(plan, out, "recipe", recipe, images_per_class, 0))
        if made.experts is None:
            return ""
        return str(out / expert_folder_name(data.train, made, data=data.name, engine=plan.engine))

    return [dataclasses.replace(job, experts=folder(job.what, job.images_per_class)) for job in jobs]


def _baseline_jobs(plan: AccuracyPlan, out: Path, budgets: Sequence[int]) -> list[Job]:
    return [
        _job(plan, out, "baseline", name, images_per_class, seed)
        for images_per_class in budgets
        for name in plan.baselines
        for seed in plan.seeds
    ]


def _job(plan: AccuracyPlan, out: Path, kind: str, what: str, images_per_class: int, seed: int) -> Job:
    return Job(
        kind=kind,
        what=what,
        images_per_class=images_per_class,
        seed=seed,
        data=plan.data,
        data_dir=str(plan.data_dir or ""),
        minutes=plan.minutes,
        networks=plan.networks,
        epochs=plan.epochs,
        schedule=plan.schedule,
        device=plan.device,
        engine=dataclasses.asdict(plan.engine),
        changes=dict(plan.changes),
        out=str(out),
    )


def _affordable(results: Mapping[str, Any], data: DataSplits) -> list[int]:
    """How many real images a class the bytes of each row pay for."""
    smallest = int(data.train.class_sizes.min())
    sizes = [row["bytes"] for row in results["rows"].values() if row["kind"] == "recipe" and "bytes" in row]
    return sorted({min(images_for_bytes(size, data.train), smallest) for size in sizes})


def _write(out: Path, results: Mapping[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "results.json", (json.dumps(results, indent=2, sort_keys=True) + "\n").encode())
