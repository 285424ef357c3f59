"""Clocks: runners take turns in one process, so that whatever else the machine does falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from core_distill.benchmark.unit import Timed


class Timing(NamedTuple):
    """Seconds of a unit of work in each round, and what the first run of its parts took longer: compiling, above all."""

    warm_up: float
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)


def seconds_of(parts: tuple[Timed, ...], device: torch.device) -> tuple[float, ...]:
    """One run of each part, as long as it took, with the device idle before and after."""
    found = []
    for part in parts:
        synchronize(device)
        start = time.perf_counter()
        part.run()
        synchronize(device)
        found.append(time.perf_counter() - start)
    return tuple(found)


def interleave(
    runners: Mapping[str, tuple[Timed, ...]],
    *,
    rounds: int,
    device: torch.device,
    watch: Callable[[str], None] = lambda name: None,
) -> dict[str, Timing]:
    """Time every runner once to warm up, then in `rounds` rounds of A B C, A B C, ...; `watch` hears of each run.

    Raises `ValueError` for fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in runners}
    for _ in range(rounds + 1):
        for name, parts in runners.items():
            seconds[name].append(seconds_of(parts, device))
            watch(name)
    return {name: _scaled(parts, seconds[name]) for name, parts in runners.items()}


def _scaled(parts: tuple[Timed, ...], seconds: list[tuple[float, ...]]) -> Timing:
    first, *later = seconds
    usual = statistics.median(sum(found) for found in later)
    units = (sum(part.times * took for part, took in zip(parts, found, strict=True)) for found in later)
    return Timing(max(0.0, sum(first) - usual), tuple(units))


def synchronize(device: torch.device) -> None:
    """Wait until a card has done what it was asked; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
