"""The accuracy benchmark's rows, gathered: a line for each recipe or selection at one budget, over all seeds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Line:
    """One recipe or selection at one budget, over all seeds; of one that failed, why."""

    kind: str
    what: str
    images_per_class: int
    accuracies: tuple[float, ...]
    rows: tuple[Mapping[str, Any], ...]
    failed: str = ""
    num_failed: int = 0

    @property
    def accuracy(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Sample standard deviation over networks and seeds."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    @property
    def num_bytes(self) -> int:
        return max(int(row["bytes"]) for row in self.rows)

    @property
    def num_images(self) -> int:
        """How many images a network trains on in an epoch."""
        return max(int(row["images"]) for row in self.rows)

    def mean(self, name: str) -> float | None:
        """Of a number that each seed's row has; None where it has not."""
        found = [row[name] for row in self.rows if name in row]
        return statistics.fmean(found) if found else None


def lines(results: Mapping[str, Any]) -> list[Line]:
    """Recipes and selections by budget, the best first."""
    groups: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in results["rows"].values():
        groups.setdefault((row["kind"], row["what"], row["images_per_class"]), []).append(row)
    made = []
    for (kind, what, budget), rows in groups.items():
        done = tuple(row for row in rows if "accuracy" in row)
        accuracies = tuple(value for row in done for value in row["accuracy"]["accuracies"])
        reasons = [row["failed"] for row in rows if "failed" in row]
        made.append(Line(kind, what, budget, accuracies, done, "; ".join(dict.fromkeys(reasons)), len(reasons)))
    return sorted(made, key=lambda line: (line.images_per_class, -line.accuracy if line.accuracies else 1.0, line.what))


def selections(results: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the selections that have rows, in the order of the alphabet."""
    return tuple(sorted({row["what"] for row in results["rows"].values() if row["kind"] == "baseline"}))


def beside(line: Line, selection: str, found: Sequence[Line]) -> Line | None:
    """The best selection of real images of that name that costs no more bytes than `line`, which need not be the largest."""
    smaller = [
        other
        for other in found
        if other.kind == "baseline" and other.what == selection and other.rows and other.num_bytes <= line.num_bytes
    ]
    return max(smaller, key=lambda other: other.accuracy, default=None)
