"""The accuracy benchmark: many recipes for the same minutes, under one protocol, beside real images at equal bytes."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from core_distill.benchmark.accuracy_job import do
from core_distill.benchmark.accuracy_row import Job, recipe_of
from core_distill.data import DataSplits, images_for_bytes, load_whitened
from core_distill.engine import DEFAULT_ENGINE, Engine
from core_distill.environment import hardware, versions
from core_distill.evaluation import check_baselines
from core_distill.files import write_atomically
from core_distill.identity import differences, told
from core_distill.jobs import run_jobs
from core_distill.networks import NETWORKS, networks_for
from core_distill.partials import wrapped
from core_distill.recipes import RECIPES, expert_folder_name, is_own
from core_distill.recipes.schedules import Schedule

_PLAN, _RESULTS = "plan.json", "results.json"

Report = Callable[[Mapping[str, Any]], None]
"""Called with all results so far whenever a row was added."""


@dataclass(frozen=True, kw_only=True)
class AccuracyPlan:
    """What is compared.

    Args:
        data, data_dir: see `load_data`.
        recipes: names, as `typed_recipe` takes them; more may join a later call in the same folder. None is every recipe
            whose network reads such data.
        budgets: images a class.
        minutes: of distillation for each row; steps are counted before, so the time is met within the noise of the
            machine. 0 runs each recipe for its own steps.
        baselines: selections of real images, scored at every number of bytes that a row has.
        network, networks, epochs: of the evaluation, the same for every row; by default a ConvNet, of texts a TextCNN.
        whiten: the epsilon by which images are whitened before all else; 0 leaves them as they are.
        changes: values for every recipe, and the evaluation's network, that have them, such as `{"width": "64"}`.

    Raises `ValueError` for unknown names and numbers out of range.
    """

    data: str
    recipes: tuple[str, ...] = ()
    data_dir: Path | None = None
    budgets: tuple[int, ...] = (10,)
    seeds: tuple[int, ...] = (0,)
    minutes: float = 6.0
    baselines: tuple[str, ...] = ("random", "kmeans")
    network: str = ""
    networks: int = 3
    epochs: int = 300
    schedule: Schedule = "cpu"
    device: str = "cpu"
    engine: Engine = DEFAULT_ENGINE
    whiten: float = 0.0
    changes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = [name for name in self.recipes if not is_own(name)]
        for what, chosen, known in (("recipe", named, RECIPES), ("network", (self.network,), ("", *NETWORKS))):
            unknown = sorted(set(chosen) - set(known))
            if unknown:
                raise ValueError(
                    f"no {what} is called {', '.join(unknown)}; known: {', '.join(sorted(filter(None, known)))}"
                )
        check_baselines(self.baselines)
        if not self.minutes >= 0:
            raise ValueError(f"minutes must be 0 or more, got {self.minutes}")
        if not self.budgets or not self.seeds:
            raise ValueError("there must be a budget and a seed")
        if min(*self.budgets, self.networks, self.epochs, 1) < 1:
            raise ValueError(
                f"budgets, networks and epochs must be at least 1, got {self.budgets}, {self.networks} and {self.epochs}"
            )

    def shared(self) -> dict[str, object]:
        """What all rows of a folder have in common, as JSON values."""
        return {
            "data": self.data,
            "minutes": self.minutes,
            "network": self.network,
            "networks": self.networks,
            "epochs": self.epochs,
            "schedule": self.schedule,
            "device": self.device.split(":")[0],
            "engine": self.engine.describe(),
            "changes": dict(self.changes),
            "versions": versions(),
        } | ({"whitening": self.whiten} if self.whiten else {})


def run_accuracy(
    plan: AccuracyPlan, out: Path, *, command: str = "", processes: int = 1, ray_address: str = "", report: Report
) -> dict[str, Any]:
    """Run, or go on with, the benchmark in the folder `out`; returns all its results and calls `report` after each row.

    Every row runs in a process of its own, so that its peak memory is its own and one that fails leaves the others alone
    (its row says why; the same command tries it again). A row that was stopped goes on where it was. See `run_jobs` for
    `processes` and `ray_address`; on a cluster `report` is called when all rows of a kind are there, while each row stands in
    its own `rows/NAME/row.json` as soon as it is measured.

    `plan.json` says which benchmark the folder holds, `results.json` its results. Where the latter is deleted, rows that
    were measured are found again. Raises `ValueError` for a folder of another benchmark, where a file is damaged, and
    for more images a class than there are real ones.
    """
    data = load_whitened(plan.data, data_dir=plan.data_dir, epsilon=plan.whiten)
    data.require_images(max(plan.budgets))
    fitting = networks_for(data.train.image_shape)
    plan = dataclasses.replace(plan, network=plan.network or next(iter(fitting)))
    _refuse_unknown(plan, out)
    results = _opened(plan, data, out, command)
    _write(out, _RESULTS, results)

    def add(jobs: Sequence[Job]) -> None:
        for name, row in run_jobs(do, _missing(jobs, results), processes=processes, ray_address=ray_address):
            results["rows"] |= _measured_elsewhere(out) | {name: row}
            _write(out, _RESULTS, results)
            report(results)

    wanted, refused = _jobs(plan, data, out, fitting)
    _refuse_changed(wanted, results, out)
    results["rows"] |= refused
    missing = [job.only_experts() for job in _missing(wanted, results) if job.experts]
    largest = {job.experts: job for job in sorted(missing, key=lambda job: recipe_of(job).values()["num_experts"])}
    for _ in run_jobs(do, list(largest.values()), processes=processes, ray_address=ray_address):
        pass  # a row whose experts cannot be trained says so itself
    add(_baseline_jobs(plan, out, plan.budgets))
    first = {job.other_seeds: job for job in reversed(wanted)}
    add(list(first.values())[::-1])  # the others take as many steps as it counts
    add([job for job in wanted if first[job.other_seeds] is not job])
    add(_baseline_jobs(plan, out, _affordable(results, data)))
    _write(out, _RESULTS, results)
    report(results)
    return results


def _missing(jobs: Sequence[Job], results: Mapping[str, Any]) -> list[Job]:
    return [job for job in jobs if "accuracy" not in results["rows"].get(job.name, {})]


def _opened(plan: AccuracyPlan, data: DataSplits, out: Path, command: str) -> dict[str, Any]:
    """The results so far. Two files say which benchmark a folder holds, so that either may be lost."""
    shared = json.loads(json.dumps({**plan.shared(), "digest": data.digest}))
    if out.exists() and any(out.iterdir()) and not any((out / name).exists() for name in (_PLAN, _RESULTS)):
        raise ValueError(f"{out} exists and holds no accuracy benchmark; choose another output folder with --out")
    found = _read(out, _PLAN, {"shared": dict, "hardware": dict}, "it is written again")
    parts = {"shared": dict, "hardware": dict, "commands": list, "rows": dict}
    results = _read(out, _RESULTS, parts, "rows that were measured are found again")
    for kept in (found, results):
        _refuse_other(out, kept.get("shared", shared), shared)
    whose = found or {"shared": shared, "hardware": results.get("hardware") or hardware(plan.device)}
    if not found:
        _write(out, _PLAN, whose)
    results = results or {**whose, "commands": [], "rows": _finished(out)}
    results["commands"] = list(dict.fromkeys([*results["commands"], command]))
    return results


def _read(out: Path, name: str, parts: Mapping[str, type], cure: str) -> dict[str, Any]:
    """What a file of the folder says, empty where there is none; `ValueError` that says what to do where it is damaged."""
    path = out / name
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        wrong = [part for part, kind in parts.items() if not isinstance(content[part], kind)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} cannot be read")
    except (ValueError, KeyError, TypeError) as error:
        others = any((out / other).exists() for other in {_PLAN, _RESULTS} - {name})
        advice = f"delete it: {cure}" if others else "choose another output folder with --out"
        raise ValueError(f"{path} is damaged ({error}); {advice}") from error
    return content


def _refuse_other(out: Path, found: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    apart = differences(found, shared)
    if apart:
        raise ValueError(f"{out} belongs to another benchmark ({told(apart)}); choose another output folder with --out")


def _finished(out: Path) -> dict[str, Any]:
    """The rows that jobs have written."""
    rows = {path.parent.name: json.loads(path.read_text()) for path in sorted((out / "rows").glob("*/row.json"))}
    return {name: row for name, row in rows.items() if "kind" in row}


def _measured_elsewhere(out: Path) -> dict[str, Any]:
    """Rows that another process may have added to the same folder since this one read it."""
    rows = json.loads((out / _RESULTS).read_text())["rows"]
    return {name: row for name, row in rows.items() if "accuracy" in row}


def _jobs(
    plan: AccuracyPlan, data: DataSplits, out: Path, fitting: Mapping[str, type[nn.Module]]
) -> tuple[list[Job], dict[str, dict[str, Any]]]:
    """What is to be measured, and rows of what cannot be, with the reason."""
    jobs: list[Job] = []
    refused: dict[str, dict[str, Any]] = {}
    for images_per_class, name, seed in itertools.product(plan.budgets, plan.recipes or sorted(RECIPES), plan.seeds):
        job = job_of(plan, out, "recipe", name, images_per_class, seed)
        try:
            recipe = recipe_of(job)
        except ValueError as error:
            refused[job.name] = {**job.row, "failed": str(error)}
            continue
        if not plan.recipes and wrapped(recipe.network) not in fitting.values():
            continue
        if recipe.experts is not None:
            folder = expert_folder_name(data.train, recipe, data=data.name, engine=plan.engine)
            job = dataclasses.replace(job, experts=str(out / folder))
        jobs.append(job)
    return jobs, refused


def _refuse_unknown(plan: AccuracyPlan, out: Path) -> None:
    """Raise `ValueError` for changes that no recipe takes, chosen or not: others may join later."""
    unknown = set(plan.changes)
    for name in dict.fromkeys([*RECIPES, *plan.recipes]):
        with contextlib.suppress(ValueError):  # of a recipe that refuses another change, its own row tells
            unknown -= set(recipe_of(job_of(plan, out, "recipe", name, plan.budgets[0], plan.seeds[0])).values())
    if unknown:
        raise ValueError(f"no recipe has a value {', '.join(sorted(unknown))}")


def _refuse_changed(jobs: Sequence[Job], results: Mapping[str, Any], out: Path) -> None:
    """Raise `ValueError` where the file of a recipe of one's own is another one than a row of it was measured with."""
    for job in jobs:
        row = results["rows"].get(job.name, {})
        if is_own(job.what) and "accuracy" in row and row["source"] != recipe_of(job).source:
            raise ValueError(
                f"{job.what} has changed since {job.name} was measured; choose another output folder with --out"
            )


def _baseline_jobs(plan: AccuracyPlan, out: Path, budgets: Sequence[int]) -> list[Job]:
    return [
        job_of(plan, out, "baseline", name, images_per_class, seed)
        for images_per_class in budgets
        for name in plan.baselines
        for seed in plan.seeds
    ]


def job_of(plan: AccuracyPlan, out: Path, kind: str, what: str, images_per_class: int, seed: int) -> Job:
    """The job of one row in the folder `out`; `kind` is `recipe` or `baseline`, `what` its name."""
    return Job(
        kind=kind,
        what=what,
        images_per_class=images_per_class,
        seed=seed,
        data=plan.data,
        data_dir=str(plan.data_dir or ""),
        minutes=plan.minutes,
        network=plan.network,
        networks=plan.networks,
        epochs=plan.epochs,
        schedule=plan.schedule,
        device=plan.device,
        engine=dataclasses.asdict(plan.engine),
        changes=dict(plan.changes),
        out=str(out),
        whiten=plan.whiten,
    )


def _affordable(results: Mapping[str, Any], data: DataSplits) -> list[int]:
    """How many real images a class the bytes of each row pay for."""
    sizes = [row["bytes"] for row in results["rows"].values() if row["kind"] == "recipe" and "bytes" in row]
    return sorted({images_for_bytes(size, data.train) for size in sizes})


def _write(out: Path, name: str, content: Mapping[str, Any]) -> None:
    write_atomically(out / name, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
