"""Experts: the parameters of networks trained on real data, after every epoch, on disk or in memory.

A file is `expert-007.safetensors`: one tensor `(epochs + 1, *parameter)` a parameter, epoch 0 before training, and what
the expert is in the metadata. Reading takes one epoch out of it and loads nothing else.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Generator, Tensor, nn

from core_distill.files import write_atomically
from core_distill.identity import differences, told
from core_distill.randomness import host_integers

Trajectory = Callable[[int], tuple[Tensor, ...]]
"""`trajectory(epoch)`: an expert's parameters after that many epochs, on the CPU."""

Shapes = Mapping[str, tuple[int, ...]]
"""Name and shape of each of a network's parameters, in the network's order."""

_KEY = "stillroom-expert"


class ExpertError(ValueError):
    """Experts that are damaged, of something else, or of no use."""


class ExpertTrajectories:
    """What trajectory matching knows of real data: experts' parameters, epoch by epoch.

    Attributes: `num_experts`; `epochs` each has after the start; `seconds` that training them took, over all sessions.
    """

    def __init__(self, trajectories: Sequence[Trajectory], *, epochs: int, seconds: float = 0.0) -> None:
        self._trajectories, self.epochs, self.seconds = tuple(trajectories), epochs, seconds

    @property
    def num_experts(self) -> int:
        return len(self._trajectories)

    def check_span(self, max_start: int, span: int, *, min_start: int = 0) -> None:
        """Raise `ValueError` unless stretches of `span` epochs that start from `min_start`, before `max_start`, exist."""
        if max_start < 1 or span < 1:
            raise ValueError(f"max_start and the epochs to match must be at least 1, got {max_start} and {span}")
        if not 0 <= min_start < max_start:
            raise ValueError(f"min_start must lie in 0..{max_start - 1}, below max_start {max_start}, got {min_start}")
        if max_start - 1 + span > self.epochs:
            cure = (
                f"choose a max_start of at most {self.epochs - span + 1}"
                if span <= self.epochs
                else "match fewer epochs"
            )
            raise ValueError(
                f"max_start {max_start} with {span} epochs to match needs experts of {max_start - 1 + span} epochs, these "
                f"have {self.epochs}: {cure}, or train experts for longer"
            )

    def draw(
        self, generator: Generator, max_start: int, span: int, *, min_start: int = 0
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """A random expert's parameters after a random epoch from `min_start` to below `max_start`, and `span` epochs later.

        On the generator's device, in the order of `network.parameters()`. Raises what `check_span` does.
        """
        self.check_span(max_start, span, min_start=min_start)
        trajectory, epoch = self._choose(generator, max_start, min_start)
        start, target = (_onto(trajectory(when), generator.device) for when in (epoch, epoch + span))
        return start, target

    def draw_trained(self, generator: Generator, epochs: int) -> tuple[Tensor, ...]:
        """A random expert's parameters after `epochs`: the later ones of `draw(generator, 1, epochs)`, by the same draw."""
        self.check_span(1, epochs)
        trajectory, start = self._choose(generator, 1, 0)
        return _onto(trajectory(start + epochs), generator.device)

    def _choose(self, generator: Generator, max_start: int, min_start: int) -> tuple[Trajectory, int]:
        trajectory = self._trajectories[_below(self.num_experts, generator)]
        return trajectory, min_start + _below(max_start - min_start, generator)

    @torch.no_grad()
    def load(self, network: nn.Module, expert: int, epoch: int) -> nn.Module:
        """`network`, of the experts' kind, with the parameters of one of them; changed in place."""
        for parameter, value in zip(network.parameters(), self._trajectories[expert](epoch), strict=True):
            parameter.copy_(value)
        return network


def in_memory(stacked: Mapping[str, Tensor]) -> Trajectory:
    """The trajectory of parameters `(epochs + 1, *parameter)`, kept on the CPU."""
    kept = tuple(value.cpu() for value in stacked.values())
    return functools.partial(_epoch_of, kept)


class ExpertFolder:
    """Expert files in a folder, each written atomically.

    Args:
        identity: what the experts are of (data, network, training), as JSON values; files of others are refused.
        shapes: the parameters of their network.
    """

    def __init__(self, path: Path, *, identity: Mapping[str, object], shapes: Shapes, epochs: int) -> None:
        if path.exists() and not path.is_dir():
            raise ExpertError(f"{path} is not a folder; choose another for the experts")
        self.path, self._shapes, self._epochs = path, shapes, epochs
        self._identity = json.loads(json.dumps(identity))

    def file(self, number: int) -> Path:
        """Where an expert is, or will be."""
        return self.path / f"expert-{number:03}.safetensors"

    def find(self, number: int) -> Trajectory | None:
        """An expert that was trained before, read through once; `None` where there is no file.

        Raises `ExpertError`, saying what to do, for a file that is damaged, of other data, another network or another
        training, holds NaN, or an expert that stood still.
        """
        path = self.file(number)
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                self._check_identity(path, json.loads((file.metadata() or {})[_KEY])["identity"])
                self._check_shapes(path, file)
                check_trajectory((file.get_tensor(name) for name in self._shapes), what=str(path))
        except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ExpertError(
                f"{path} is cut short, damaged or no expert of stillroom ({error}); delete it to train it again"
            ) from error
        return self._trajectory(path)

    def add(self, number: int, stacked: Mapping[str, Tensor], *, seconds: float) -> Trajectory:
        """Write a new expert, and how long its training took; `OSError` where that fails."""
        metadata = {_KEY: json.dumps({"identity": self._identity, "expert": number}, sort_keys=True)}
        data = safetensors.torch.save({name: value.cpu().contiguous() for name, value in stacked.items()}, metadata)
        write_atomically(self.file(number), data)
        self._write_seconds({**self.seconds(), str(number): round(seconds, 2)})
        return self._trajectory(self.file(number))

    def seconds(self) -> dict[str, float]:
        """How long training took, by expert; apart from the experts, whose bytes say nothing of a clock."""
        path = self._seconds_path
        if not path.exists():
            return {}
        try:
            return {str(number): float(value) for number, value in json.loads(path.read_text()).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise ExpertError(f"{path} is damaged ({error}); delete it: the experts stay") from error

    @property
    def _seconds_path(self) -> Path:
        return self.path / "seconds.json"

    def _write_seconds(self, seconds: Mapping[str, float]) -> None:
        write_atomically(self._seconds_path, (json.dumps(seconds, indent=2, sort_keys=True) + "\n").encode())

    def _trajectory(self, path: Path) -> Trajectory:
        return functools.partial(_read_epoch, path, tuple(self._shapes))

    def _check_identity(self, path: Path, found: Mapping[str, Any]) -> None:
        apart = differences(found, self._identity)
        if apart:
            raise ExpertError(
                f"{path} is an expert of something else ({told(apart)}); choose another folder for these experts"
            )

    def _check_shapes(self, path: Path, file: Any) -> None:
        wanted = {name: [self._epochs + 1, *shape] for name, shape in self._shapes.items()}
        found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if wrong:
            name = wrong[0]
            raise ExpertError(
                f"{path} is not of this network: {name} has shape {found.get(name)}, not {wanted.get(name)}; "
                "delete it to train it again, or choose another folder"
            )


def check_trajectory(stacked: Iterable[Tensor], *, what: str) -> None:
    """Raise `ExpertError` where parameters `(epochs + 1, *parameter)` are not finite, or no parameter moved in an epoch."""
    moved: Tensor | None = None
    for value in stacked:
        bad = ~torch.isfinite(value).flatten(1).all(1)
        if bad.any():
            raise ExpertError(
                f"{what} is not finite after epoch {int(bad.int().argmax())}; train experts at a lower rate, or delete a "
                "damaged file"
            )
        changed = (value[1:] != value[:-1]).flatten(1).any(1)
        moved = changed if moved is None else moved | changed
    if moved is None or not moved.all():
        raise ExpertError(f"{what} does not move in some epoch, so there is nothing to match; train at a higher rate")


def short_digest(identity: Mapping[str, object]) -> str:
    """Eight hexadecimal digits that name an identity."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]


def folder_name(data: str, identity: Mapping[str, object]) -> str:
    """What a folder of experts on the data set `data` is called by default: those of one identity share it."""
    return f"experts-{re.sub(r'[^a-z0-9-]+', '-', data.lower())}-{short_digest(identity)}"


def _epoch_of(stacked: tuple[Tensor, ...], epoch: int) -> tuple[Tensor, ...]:
    return tuple(value[epoch] for value in stacked)


def _read_epoch(path: Path, names: tuple[str, ...], epoch: int) -> tuple[Tensor, ...]:
    with safe_open(path, "pt") as file:
        return tuple(file.get_slice(name)[epoch : epoch + 1][0].clone() for name in names)  # off the mapped file


def _below(limit: int, generator: Generator) -> int:
    """A random number on the host, below `limit`; a CUDA generator gives it without a wait for the device."""
    number = int(host_integers(limit, 1, generator, "expert"))
    if generator.device.type == "cuda":
        torch.rand(1, generator=generator, device=generator.device)  # moves the offset: the next number is another
    return number


def _onto(values: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    if device.type != "cuda":
        return values
    return tuple(value.pin_memory().to(device, non_blocking=True) for value in values)
