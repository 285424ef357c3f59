"""A number with its spread."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Accuracies of independently trained networks, fractions from 0 to 1, in the order of their seeds."""

    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """Sample standard deviation, 0 for a single network."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0

    def __str__(self) -> str:
        """In percent, with the standard deviation over networks where there are several."""
        spread = f" ± {100 * self.std:.1f}" if len(self.accuracies) > 1 else ""
        return f"{100 * self.mean:.1f}{spread} %"

    def as_json(self) -> dict[str, object]:
        return {"mean": self.mean, "std": self.std, "accuracies": list(self.accuracies)}
