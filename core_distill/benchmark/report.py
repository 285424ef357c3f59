"""What was measured, as files: a table in Markdown and CSV, and slopes of cost against size."""

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core_distill.benchmark.plot import draw
from core_distill.benchmark.unit import AXES
from core_distill.files import write_atomically

COLUMNS = (
    "work",
    *AXES.values(),
    "runner",
    "seconds",
    "lowest",
    "highest",
    "warm-up",
    "GFLOP/s",
    "of ceiling",
    "peak MB",
)
"""Of the table, before a speed-up over each runner that others are compared with."""


class Line(NamedTuple):
    """Cost of one work and runner against one axis: `(value, cost)`, ascending."""

    axis: str
    work: str
    runner: str
    points: tuple[tuple[float, float], ...]

    @property
    def slope(self) -> float:
        """Of the line through the points on logarithmic scales, by least squares: 1 is linear cost."""
        logs = [(math.log(x), math.log(y)) for x, y in self.points]
        return statistics.linear_regression(*zip(*logs, strict=True)).slope


def lines(results: Mapping[str, Any], cost: str) -> list[Line]:
    """Every line of at least two points along one axis, of `median` seconds or `peak_bytes`.

    Points of a line differ in its axis alone.
    """
    groups: dict[tuple[str, str, str, tuple[object, ...]], list[tuple[float, float]]] = {}
    for row in results["rows"].values():
        for axis in (axis for axis in AXES if axis in row):
            rest = tuple(row.get(other) for other in AXES if other != axis)
            for runner, told in row["runners"].items():
                if told.get(cost):
                    key = (axis, row["work"], runner, rest)
                    groups.setdefault(key, []).append((float(row[axis]), float(told[cost])))
    return [Line(*key[:3], tuple(sorted(points))) for key, points in groups.items() if len(points) > 1]


def table(results: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, a row for each work, size and runner."""
    others = list(dict.fromkeys(o for told in _each_runner(results) for o in told.get("speedup", ())))
    header = [*COLUMNS, *(f"x {other}" for other in others)]
    rows = []
    for row in results["rows"].values():
        for runner, told in row["runners"].items():
            start = [row["work"], *(str(row.get(axis, "")) for axis in AXES), runner]
            rows.append([*start, *_numbers(told, others)])
    return header, rows


def _each_runner(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [told for row in results["rows"].values() for told in row["runners"].values()]


def _numbers(told: Mapping[str, Any], others: Sequence[str]) -> list[str]:
    if "failed" in told:
        return [told["failed"], *[""] * (len(COLUMNS) - len(AXES) - 3 + len(others))]
    peak = "" if told["peak_bytes"] is None else f"{told['peak_bytes'] / 1e6:.0f}"
    seconds = [f"{told[name]:.4g}" for name in ("median", "min", "max", "warm_up")]
    faster = [f"{told['speedup'][other]:.2f}" if other in told["speedup"] else "" for other in others]
    return [*seconds, f"{told['gflops']:.1f}", f"{100 * told['share']:.0f} %", peak, *faster]


def markdown(results: Mapping[str, Any]) -> str:
    """The table with what it was measured on."""
    identity = results["identity"]
    header, rows = table(results)
    ceilings = [
        f"- ceiling in {precision}: {found['product']:.0f} GFLOP/s in matrix products, {found['convolution']:.0f} in "
        "128-channel 3 x 3 convolutions, forward plus backward"
        for precision, found in results["ceiling"].items()
    ]
    slopes = [
        f"- {line.work}, {line.runner}: {what} against {AXES[line.axis]} has the slope {line.slope:.2f}"
        for cost, what in (("median", "seconds"), ("peak_bytes", "peak memory"))
        for line in lines(results, cost)
    ]
    units = {row["work"]: row["unit"] for row in results["rows"].values()}
    told = [
        "# Speed",
        "",
        *(f"- `{command}`" for command in results["commands"]),
        f"- {', '.join(f'{name} {value}' for name, value in {**identity['versions'], **identity['hardware']}.items())}",
        f"- {', '.join(f'{name} {value}' for name, value in identity['size'].items())}; rounds {identity['rounds']}",
        *ceilings,
        *(f"- {work}: seconds of {unit}" for work, unit in units.items()),
        "",
        *(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)),
        "",
        *(["Slopes on logarithmic scales (1 is linear cost):", "", *slopes] if slopes else []),
    ]
    return "\n".join(told).rstrip() + "\n"


def write_report(results: Mapping[str, Any], out: Path) -> list[str]:
    """Write `speed.md`, `speed.csv` and, where something was varied, `speed.png` to `out`; the names written.

    Raises `ModuleNotFoundError` after the others were written where matplotlib is not installed.
    """
    text = io.StringIO()
    header, rows = table(results)
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(out / "speed.md", markdown(results).encode())
    write_atomically(out / "speed.csv", text.getvalue().encode())
    panels = {"seconds": lines(results, "median"), "peak memory, bytes": lines(results, "peak_bytes")}
    if not any(panels.values()):
        return ["speed.md", "speed.csv"]
    write_atomically(out / "speed.png", draw(panels))
    return ["speed.md", "speed.csv", "speed.png"]
