"""Seconds that a run took, also over interrupted sessions: saved with its checkpoint."""

import time
from typing import Any


class Clock:
    """Seconds spent so far."""

    def __init__(self) -> None:
        self._before, self._start = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._start

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before, self._start = state_dict["seconds"], time.monotonic()


class Longest:
    """The longest of what sessions of a run took for the same: later ones may find it done."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = max(self.seconds, state_dict["seconds"])
