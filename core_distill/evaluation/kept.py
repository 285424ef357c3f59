"""Scores of a long evaluation, each written with its cost as soon as it is there, so that a stopped one goes on."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core_distill.evaluation.scores import Score
from core_distill.files import write_atomically
from core_distill.peak_memory import Peak

Named = dict[str, Score]

Keep = Callable[[str, Callable[[], Score]], Score]
"""`keep(name, measure)`: what was measured before under the name, or what `measure` says now."""

KeepSeveral = Callable[[str, Callable[[], Named]], Named]
"""As `Keep`, of several scores with names of their own."""


class Cost(NamedTuple):
    """What it took to measure something; memory as `Peak` counts it."""

    seconds: float
    peak_bytes: int


class KeptScores:
    """The scores in a JSON file, which belongs to one evaluation, by name.

    Args:
        path: of the file; None keeps them in memory alone.
        identity: what makes two evaluations the same one, as JSON values.
        device: whose memory is counted.

    Raises `ValueError` for a file of another evaluation, and one that is damaged.
    """

    def __init__(
        self, path: Path | None, *, identity: Mapping[str, object], device: torch.device | str = "cpu"
    ) -> None:
        self._path, self._device = path, torch.device(device)
        self._content: dict[str, Any] = {"identity": json.loads(json.dumps(identity)), "scores": {}}
        if path is not None and path.exists():
            self._go_on(path)

    def keep(self, name: str, measure: Callable[[], Score]) -> Score:
        """The score of that name; measured and written where it is not there yet."""
        return self.keep_several(name, lambda: {"": measure()})[""]

    def keep_several(self, name: str, measure: Callable[[], Named]) -> Named:
        """As `keep`, several scores with names of their own."""
        entries = self._content["scores"]
        if name not in entries:
            start, peak = time.monotonic(), Peak(self._device)
            found = {part: list(score.accuracies) for part, score in measure().items()}
            cost = Cost(round(time.monotonic() - start, 1), peak.num_bytes)
            entries[name] = {"accuracies": found, **cost._asdict()}
            self._write()
        return {part: Score(tuple(values)) for part, values in entries[name]["accuracies"].items()}

    def cost(self, name: str) -> Cost | None:
        """What the score of that name took; None where it was not measured."""
        entry = self._content["scores"].get(name)
        return Cost(entry["seconds"], entry["peak_bytes"]) if entry else None

    def conclude(self, results: Mapping[str, object]) -> None:
        """Write what the scores say together, beside them."""
        self._content["results"] = dict(results)
        self._write()

    def _go_on(self, path: Path) -> None:
        try:
            content = json.loads(path.read_text())
            identity = content["identity"]
            for entry in content["scores"].values():
                _ = Cost(entry["seconds"] + 0.0, entry["peak_bytes"] + 0)
                _ = [Score(tuple(values)).mean for values in entry["accuracies"].values()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it or choose another with --out") from error
        if identity != self._content["identity"]:
            raise ValueError(f"{path} belongs to another evaluation; delete it or choose another with --out")
        self._content = content

    def _write(self) -> None:
        if self._path is not None:
            write_atomically(self._path, (json.dumps(self._content, indent=2, sort_keys=True) + "\n").encode())
