"""The plot of cost against size, on logarithmic scales."""

import io
from collections.abc import Mapping, Sequence
from typing import Protocol

from core_distill.benchmark.unit import AXES


class Drawn(Protocol):
    """What a curve needs: see `report.Line`."""

    @property
    def axis(self) -> str: ...

    @property
    def work(self) -> str: ...

    @property
    def runner(self) -> str: ...

    @property
    def points(self) -> tuple[tuple[float, float], ...]: ...

    @property
    def slope(self) -> float: ...


def draw(panels: Mapping[str, Sequence[Drawn]]) -> bytes:
    """A PNG with a row of panels for each kind of cost and a column for each axis that was varied.

    Colours are works, line styles are runners; the legend states each line's slope. Raises `ModuleNotFoundError` where
    matplotlib is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    kinds = {what: found for what, found in panels.items() if found}
    everything = [line for found in kinds.values() for line in found]
    axes = [axis for axis in AXES if any(line.axis == axis for line in everything)]
    works = list(dict.fromkeys(line.work for line in everything))
    runners = sorted(dict.fromkeys(line.runner for line in everything), key=lambda name: name == "naive")
    figure = Figure(figsize=(5 * len(axes), 4.5 * len(kinds)), layout="constrained")
    grid = figure.subplots(len(kinds), len(axes), squeeze=False)
    for row, (what, found) in zip(grid, kinds.items(), strict=True):
        for panel, axis in zip(row, axes, strict=True):
            shown = [line for line in found if line.axis == axis]
            for line in shown:
                panel.plot(
                    *zip(*line.points, strict=True),
                    color=f"C{works.index(line.work)}",
                    linestyle=("-", "--", ":", "-.")[runners.index(line.runner) % 4],
                    marker="o",
                    markersize=3,
                    label=f"{line.work}, {line.runner}: slope {line.slope:.2f}",
                )
            panel.set(xscale="log", yscale="log", xlabel=AXES[axis], ylabel=what)
            panel.xaxis.set_major_locator(FixedLocator(sorted({x for line in shown for x, _ in line.points})))
            panel.xaxis.set_minor_locator(NullLocator())
            panel.xaxis.set_major_formatter(ScalarFormatter())
            panel.grid(alpha=0.3)
            if shown:
                panel.legend(fontsize="x-small")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()
