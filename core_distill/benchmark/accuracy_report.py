"""The accuracy benchmark as files: a table in Markdown, numbers in CSV, and a plot."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core_distill.benchmark.accuracy_lines import Line, beside, lines, selections
from core_distill.benchmark.accuracy_plot import draw
from core_distill.evaluation import Protocol
from core_distill.files import write_atomically
from core_distill.recipes.published import published_nearest

_FIRST = ("set", "images/class", "test accuracy", "bytes", "trains on")
_COUNTED = ("steps", "seconds", "expert_seconds", "start_seconds", "peak_bytes", "evaluation_seconds")
_EPOCH = (
    "An epoch takes every image that a set makes once ('trains on'), in batches of "
    f"{Protocol.batch_size} and a last one of what is left, so a set that makes more images of its bytes trains for more steps"
)
_TIMED = (
    "; how many steps of distillation fit is estimated beforehand, for all seeds of a row alike, so its minutes differ "
    "('minutes')"
)
_PUBLISHED = (
    "Published: by the paper's schedule and evaluation, such as the 1,000 epochs with augmentation of DSA and DM; `~`: not "
    "checked."
)
_COSTS = ("steps", "minutes", "experts and start, min", "peak MB", "published")


def columns(results: Mapping[str, Any]) -> tuple[str, ...]:
    """The header of `table`."""
    return *_FIRST, *(f"above {name}" for name in selections(results)), *_COSTS


def table(results: Mapping[str, Any]) -> list[list[str]]:
    """A row of cells for each line. Differences are percentage points, to the best such selection of as many bytes at most."""
    found, names = lines(results), selections(results)
    return [_cells(line, found, names, str(results["shared"]["data"])) for line in found]


def differences(row: Mapping[str, Any]) -> str:
    """What a recipe's row has otherwise than the published schedule, such as `batch_size 64 for 256`."""
    return "; ".join(f"{name} {ours} for {theirs}" for name, (ours, theirs) in row.get("differs", {}).items())


def _cells(line: Line, found: Sequence[Line], names: Sequence[str], data: str) -> list[str]:
    budget, blank = str(line.images_per_class), [""] * (len(names) + len(_COSTS))
    if not line.accuracies:
        return [line.what, budget, line.failed, "", "", *blank]
    spread = f" ± {100 * line.spread:.1f}" if len(line.accuracies) > 1 else ""
    lost = f" ({line.num_failed} failed)" if line.num_failed else ""
    own, every = (sorted({row["seed"] for each in of for row in each.rows}) for of in ([line], found))
    lost += f" (seed {', '.join(map(str, own))})" if own != every else ""
    start = [f"{100 * line.accuracy:.1f}{spread} %{lost}", f"{line.num_bytes:,}", f"{line.num_images:,}"]
    apart = (line.mean("expert_seconds") or 0) + (line.mean("start_seconds") or 0)
    steps, seconds, peak = (line.mean(name) or 0 for name in ("steps", "seconds", "peak_bytes"))
    outside = [f"{apart / 60:.1f}" if apart > 1 else "", f"{peak / 1e6:.0f}" if peak else ""]
    if line.kind == "baseline":
        return [line.what, budget, *start, *[""] * len(names), "", "", *outside, ""]
    others = [beside(line, name, found) for name in names]
    above = [f"{100 * (line.accuracy - other.accuracy):+.1f}" if other else "" for other in others]
    costs = [f"{steps:.0f}", f"{seconds / 60:.1f}", *outside]
    return [line.what, budget, *start, *above, *costs, published_nearest(line.what, data, line.images_per_class)]


def protocol(results: Mapping[str, Any]) -> str:
    """One sentence on how the numbers came about."""
    shared, machine = results["shared"], results["hardware"]
    changes = "".join(f", {name}={value}" for name, value in shared["changes"].items())
    whitened = f" whitened by an epsilon of {shared['whitening']:g}" if "whitening" in shared else ""
    seeds = ", ".join(map(str, sorted({row["seed"] for row in results["rows"].values()})))
    minutes = f"{shared['minutes']:g} minutes of distillation" if shared["minutes"] else "each recipe's own steps"
    return (
        f"{shared['data']}{whitened}, schedule {shared['schedule']}{changes}, {minutes}; test accuracy of {shared['networks']} "
        f"fresh networks ({shared['network']}), {shared['epochs']} epochs with augmentation, last epoch, mean and standard "
        f"deviation over networks and seeds ({seeds}); {shared['engine']['precision']}; stillroom "
        f"{shared['versions']['stillroom']}, torch {shared['versions']['torch']}; "
        f"{machine['cores']} cores of {machine['device']}. {_EPOCH}"
        f"{_TIMED if shared['minutes'] else ''}. {_PUBLISHED}"
    )


def markdown(results: Mapping[str, Any]) -> str:
    """The table with what it was measured on, and what every recipe has otherwise than published, which unfolds."""
    header = columns(results)
    cells = [header, ["---"] * len(header), *table(results)]
    commands = [f"- `{command}`" for command in results["commands"]]
    parts = [protocol(results), "\n".join(commands), "\n".join(_marked(row) for row in cells)]
    lost = [f"- {line.what}: {line.failed}" for line in lines(results) if line.failed]
    told = [
        f"- {line.what}, {line.images_per_class} images a class: {differences(line.rows[0])}"
        for line in lines(results)
        if line.rows and differences(line.rows[0])
    ]
    parts += [_tried(results)] if told else []
    if lost:
        parts.append("\n".join(lost))
    if told:
        title = "<summary>What each recipe has otherwise than its published schedule</summary>"
        parts += ["<details>", title, "\n".join(told), "</details>"]
    return "\n\n".join(parts)


def _tried(results: Mapping[str, Any]) -> str:
    """Which recipes' values were looked for, by what their sources say: they are ahead of the others by that too."""
    rows = [row for row in results["rows"].values() if row["kind"] == "recipe"]
    tried = sorted({row["what"] for row in rows if "validation" in row.get("source", "")})
    others = sorted({row["what"] for row in rows} - set(tried))
    parts = [f"Values tried on validation images, a few: {', '.join(tried)}." if tried else ""]
    parts += [f"On none, so perhaps far from their best: {', '.join(others)}." if others else ""]
    return " ".join(filter(None, parts))


def numbers(results: Mapping[str, Any]) -> str:
    """The lines as CSV for programs: fractions, bytes and seconds, empty where something does not apply.

    `spread` is the standard deviation of `scores` accuracies; `above_NAME` the difference to the best of that selection of as
    many bytes at most. Columns of selections come last, in the order of the alphabet.
    """
    found, names = lines(results), selections(results)
    text = io.StringIO()
    own = ("set", "kind", "images_per_class", "accuracy", "spread", "scores", "bytes", "images")
    header = (*own, *_COUNTED, "failed", "num_failed", *(f"above_{name}" for name in names))
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    for line in found:
        told: dict[str, object] = {
            "set": line.what,
            "kind": line.kind,
            "images_per_class": line.images_per_class,
            "failed": line.failed,
            "num_failed": line.num_failed,
        }
        if line.accuracies:
            told |= {"accuracy": line.accuracy, "scores": len(line.accuracies)}
            told |= {"spread": line.spread} if len(line.accuracies) > 1 else {}
            told |= {"bytes": line.num_bytes, "images": line.num_images, **{name: line.mean(name) for name in _COUNTED}}
        if line.accuracies and line.kind != "baseline":
            others = {name: beside(line, name, found) for name in names}
            told |= {f"above_{name}": line.accuracy - other.accuracy for name, other in others.items() if other}
        writer.writerow({name: f"{value:.10g}" if isinstance(value, float) else value for name, value in told.items()})
    return text.getvalue()


def _marked(row: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def write_report(results: Mapping[str, Any], out: Path) -> list[str]:
    """Write `accuracy.md`, `accuracy.csv` and `accuracy.png` to `out`; the names written.

    Raises `ModuleNotFoundError` after the others were written where matplotlib or adjustText is not installed.
    """
    write_atomically(out / "accuracy.md", f"# Accuracy\n\n{markdown(results)}\n".encode())
    write_atomically(out / "accuracy.csv", numbers(results).encode())
    write_atomically(out / "accuracy.png", draw(lines(results)))
    return ["accuracy.md", "accuracy.csv", "accuracy.png"]
