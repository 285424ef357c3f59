"""The speed benchmark: units of work at several sizes, every runner in turns, row by row and resumable."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from core_distill.benchmark.ceiling import Ceiling, measure_ceiling
from core_distill.benchmark.inputs import Size, make_inputs
from core_distill.benchmark.memory import peak_memory
from core_distill.benchmark.peer import open_peer
from core_distill.benchmark.runners import NAIVE, PRECISIONS, precision_of, prepare, runner_names
from core_distill.benchmark.timing import Timing, interleave
from core_distill.benchmark.unit import AXES, Work
from core_distill.benchmark.work import WORK
from core_distill.environment import hardware, versions
from core_distill.progress import Advance, ShowProgress, silent
from core_distill.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is timed.

    Args:
        work: names in `WORK`.
        size: what is not varied.
        values: for each of `AXES`, the values it takes; the first belongs to the size around which the others vary, one
            axis at a time.
        precisions: the library runs once on each.
        compiled: whether the library compiles, as it does in a long run.
        peers: folders with checkouts of reference codes.
        memory: whether peak memory is measured too, in a process for each runner and row.

    Raises `ValueError` for what does not exist, is empty, or no reference code.
    """

    work: tuple[str, ...] = tuple(WORK)
    size: Size = field(default_factory=Size)
    values: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    rounds: int = 3
    precisions: tuple[str, ...] = ("float32",)
    compiled: bool = True
    peers: tuple[Path, ...] = ()
    memory: bool = True
    device: str = "cpu"

    def __post_init__(self) -> None:
        for what, chosen, known in (("work", self.work, tuple(WORK)), ("precision", self.precisions, PRECISIONS)):
            unknown = [name for name in chosen if name not in known]
            if unknown or not chosen:
                raise ValueError(f"{what} must be chosen from {', '.join(known)}, got {', '.join(chosen) or 'none'}")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        for axis, values in self.values.items():
            if axis not in AXES or not values:
                raise ValueError(f"values must be given for some of {', '.join(AXES)}, got {axis}={values}")
        self.peer_folders()
        self.rows()

    def peer_folders(self) -> dict[str, Path]:
        """Peers by name."""
        return {open_peer(folder).name: folder for folder in self.peers}

    def rows(self) -> dict[str, tuple[Work, Size]]:
        """Every unit of work at every size, by a name that says both."""
        base = dataclasses.replace(self.size, **{axis: values[0] for axis, values in self.values.items()})
        found: dict[str, tuple[Work, Size]] = {}
        for work in (WORK[name] for name in self.work):
            varied = [{axis: value} for axis in work.axes for value in self.values.get(axis, ())]
            for size in (dataclasses.replace(base, **change) for change in ({}, *varied)):
                told = " ".join(f"{axis}={getattr(size, axis)}" for axis in work.axes)
                found[f"{work.name} {told}"] = (work, size)
        return found

    def identity(self) -> dict[str, object]:
        """What all rows of one folder share."""
        fixed = {name: value for name, value in dataclasses.asdict(self.size).items() if name not in AXES}
        return {
            "benchmark": "speed",
            "size": fixed,
            "rounds": self.rounds,
            "precisions": list(self.precisions),
            "compiled": self.compiled,
            "memory": self.memory,
            "peers": {name: open_peer(folder).digest for name, folder in self.peer_folders().items()},
            "hardware": hardware(self.device),
            "versions": versions(),
        }


def run_speed(plan: Plan, out: Path, *, command: str = "", show: ShowProgress = silent) -> dict[str, Any]:
    """Measure what `results.json` in `out` does not have yet, row by row, and return all of it.

    Results: `identity`, `ceiling` (GFLOP/s by precision), and `rows` by name, each with `work`, the sizes, `flops`, and
    `runners` by name: `seconds` (one a round), `median`, `min`, `max`, `warm_up` (seconds that the first run took longer),
    `gflops` (a second), `share` (of the ceiling), `peak_bytes`, `speedup` (over the twin and peers); or `failed`, and why.
    Raises `ValueError` where `out` belongs to something else.
    """
    identity = plan.identity()
    folder = RunFolder(out, identity=identity)
    results: dict[str, Any] = {"ceiling": {}, "rows": {}, **folder.results(), "identity": identity}
    results["commands"] = sorted({*results.get("commands", ()), command} - {""})
    for precision in PRECISIONS:
        if precision not in results["ceiling"] and precision in ("float32", *plan.precisions):
            found = measure_ceiling(torch.device(plan.device), precision)
            results["ceiling"][precision] = found._asdict()
            folder.write_results(results)
    missing = {name: row for name, row in plan.rows().items() if name not in results["rows"]}
    peers = plan.peer_folders()
    total = sum((plan.rounds + 1) * len(runner_names(work, plan.precisions, peers)) for work, _ in missing.values())
    with show("benchmark", total) as advance:
        watch = _Watch(advance)
        for name, (work, size) in missing.items():
            results["rows"][name] = _measure(plan, work, size, results["ceiling"], watch)
            folder.write_results(results)
    return results


class _Watch:
    """Counts runs for the progress bar."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.done, self.work = advance, 0, ""

    def __call__(self, runner: str) -> None:
        self.done += 1
        self.advance(self.done, f"{self.work}, {runner}")


def _measure(
    plan: Plan, work: Work, size: Size, ceiling: Mapping[str, Mapping[str, float]], watch: _Watch
) -> dict[str, Any]:
    """One row."""
    watch.work, peers = work.name, plan.peer_folders()
    names = runner_names(work, plan.precisions, peers)
    peaks: dict[str, int | None] = {}
    if plan.memory:
        for name in names:
            peaks[name] = peak_memory(name, work.name, size, plan.device, compiled=plan.compiled, peers=peers)
    inputs = make_inputs(size, plan.device)
    runners = {
        name: prepare(name, work, inputs, compiled=plan.compiled, peers=peers)
        for name in names
        if peaks.get(name, 0) is not None
    }
    timings = interleave(runners, rounds=plan.rounds, device=inputs.device, watch=watch)
    flops = work.flops(size)
    references = {name: timings[name].median for name in timings if name == NAIVE or name in peers}
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        if name in timings:
            best = Ceiling(**ceiling[precision_of(name)]).best
            told[name] = _told(timings[name], flops, best) | {"peak_bytes": peaks.get(name)}
            told[name]["speedup"] = {other: seconds / timings[name].median for other, seconds in references.items()}
        else:
            told[name] = {"failed": "needs more memory than was free"}
    return {
        "work": work.name,
        "unit": work.unit,
        **{axis: getattr(size, axis) for axis in work.axes},
        "flops": flops,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "runners": told,
    }


def _told(timing: Timing, flops: float, ceiling: float) -> dict[str, Any]:
    rate = flops / timing.median / 1e9
    return {
        "seconds": list(timing.rounds),
        "median": timing.median,
        "min": min(timing.rounds),
        "max": max(timing.rounds),
        "warm_up": timing.warm_up,
        "gflops": rate,
        "share": rate / ceiling,
    }
