"""Accuracy against bytes, and against minutes: a point for each line of the benchmark, named beside it."""

import io
from collections.abc import Sequence
from typing import Any

from core_distill.benchmark.accuracy_lines import Line

_WIDE = 5.0
"""Largest size over smallest from which on a logarithmic scale shows more."""


def draw(found: Sequence[Line]) -> bytes:
    """A PNG of accuracy against bytes, and against minutes of distillation with experts and start.

    Selections of real images are crosses, and beside minutes, of which they take none, dotted lines. Raises
    `ModuleNotFoundError` where matplotlib or adjustText is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, NullFormatter

    done = [line for line in found if line.accuracies]
    figure = Figure(figsize=(15, 8), layout="constrained")
    by_bytes, by_minutes = figure.subplots(1, 2, sharey=True)
    names = list(dict.fromkeys(line.what for line in done))
    colours = {name: f"C{number % 10}" for number, name in enumerate(names)}
    sizes = [float(line.num_bytes) for line in done]
    is_wide = bool(sizes) and max(sizes) > _WIDE * min(sizes)
    by_bytes.set(xlabel="bytes", ylabel="test accuracy, %", xscale="log" if is_wide else "linear")
    by_bytes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    by_bytes.xaxis.set_minor_formatter(NullFormatter())
    by_minutes.set(xlabel="minutes of distillation, experts and start (dotted: real images)")
    for line in done:
        if line.kind == "baseline":
            by_minutes.axhline(100 * line.accuracy, color=colours[line.what], linewidth=0.8, linestyle=":")
            place = {"xy": (1, 100 * line.accuracy), "xycoords": by_minutes.get_yaxis_transform(), "ha": "right"}
            by_minutes.annotate(_name(line, done), color=colours[line.what], fontsize=7, va="bottom", **place)
    for panel in (by_bytes, by_minutes):
        panel.grid(alpha=0.3)
        panel.margins(x=0.15)
    _points(by_bytes, done, sizes, colours)
    learned = [line for line in done if line.kind != "baseline"]
    _points(by_minutes, learned, [minutes(line) for line in learned], colours)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def minutes(line: Line) -> float:
    """What a set took to make: its distillation, its experts and its start."""
    return sum(line.mean(name) or 0.0 for name in ("seconds", "expert_seconds", "start_seconds")) / 60


def _name(line: Line, found: Sequence[Line]) -> str:
    """With images a class, where recipes have several numbers of them, or this name has."""
    budgets = {other.images_per_class for other in found if other.kind != "baseline"}
    own = {other.images_per_class for other in found if other.what == line.what}
    return f"{line.what}, {line.images_per_class}" if len(budgets) > 1 or len(own) > 1 else line.what


def _points(panel: Any, found: Sequence[Line], places: Sequence[float], colours: dict[str, str]) -> None:
    """Each line with its spread at its place, and its name where no other one is; with images a class where they differ."""
    from adjustText import adjust_text

    texts = []
    for line, x in zip(found, places, strict=True):
        marker, y = "x" if line.kind == "baseline" else "o", 100 * line.accuracy
        style = {"color": colours[line.what], "marker": marker, "markersize": 5, "elinewidth": 0.7, "alpha": 0.7}
        panel.errorbar([x], [y], yerr=100 * line.spread, linestyle="", **style)
        texts.append(panel.text(x, y, _name(line, found), fontsize=7, color=colours[line.what]))
    if texts:
        heights = [100 * line.accuracy for line in found]
        arrow = {"arrowstyle": "-", "color": "grey", "linewidth": 0.4}
        adjust_text(texts, list(places), heights, ax=panel, expand=(1.2, 1.6), iter_lim=500, arrowprops=arrow)
