"""Saving what outlives an episode, so that a killed run goes on and ends with the same bytes."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from core_distill.files import write_atomically
from core_distill.identity import differences, told
from core_distill.types import Stateful

_KEY = "stillroom-checkpoint"


class CheckpointError(ValueError):
    """A checkpoint that is not of this run, or not one at all."""


class Checkpoint:
    """One file, written atomically at episode boundaries, at most every `every_seconds`.

    Args:
        path: a `.safetensors` file; never pickle.
        identity: what makes two runs the same run (data, recipe, seed, versions), as JSON values; resuming under another
            one is refused.
        every_seconds: the least time between two writes; it does not change the result.
        read_only: only resume from it; another process of the same run writes.
    """

    def __init__(
        self, path: Path, *, identity: Mapping[str, object], every_seconds: float = 20.0, read_only: bool = False
    ) -> None:
        self.path, self._read_only = path, read_only
        self._identity = json.loads(json.dumps(identity))
        self._every_seconds = every_seconds
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last write is `every_seconds` or longer ago; never where it is read only."""
        return not self._read_only and time.monotonic() - self._last >= self._every_seconds

    def save(self, step: int, episode: int, parts: Mapping[str, Stateful]) -> None:
        """Write the state of every part; `OSError` if that fails, with the previous checkpoint left whole."""
        if self._read_only:
            return
        tensors: dict[str, Tensor] = {}
        skeleton = {name: _strip(part.state_dict(), name, tensors) for name, part in parts.items()}
        content = {"identity": self._identity, "step": step, "episode": episode, "parts": skeleton}
        data = safetensors.torch.save(tensors, {_KEY: json.dumps(content, sort_keys=True)})
        write_atomically(self.path, data, owner_only=True)
        self._last = time.monotonic()

    def resume(self, parts: Mapping[str, Stateful]) -> tuple[int, int]:
        """Load every part's state and return (step, episode); (0, 0) where there is no checkpoint yet.

        Raises `CheckpointError` where the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return 0, 0
        try:
            with safetensors.safe_open(self.path, "pt") as file:
                content = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            identity, saved, place = (
                dict(content["identity"]),
                dict(content["parts"]),
                (content["step"], content["episode"]),
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} is not a checkpoint of stillroom ({error}); delete it to start over"
            ) from error
        apart = differences(identity, self._identity)
        if apart:
            raise CheckpointError(
                f"{self.path} belongs to another run ({told(apart)}); use another output folder or delete it"
            )
        missing = sorted(parts.keys() - saved.keys())
        if missing:
            raise CheckpointError(
                f"{self.path} was written by another version, without {', '.join(missing)}; delete it to start over"
            )
        for name, part in parts.items():
            part.load_state_dict(_restore(saved[name], tensors))
        return place


def steps_done(path: Path) -> int:
    """The steps after which the checkpoint at `path` was written; 0 where there is none, or nothing to go on with."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return int(json.loads((file.metadata() or {})[_KEY])["step"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return 0


def _strip(value: Any, path: str, tensors: dict[str, Tensor]) -> object:
    """A JSON value with the tensors moved into `tensors`; dictionaries keep the type of their keys."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path, "device": str(value.device)}
    if isinstance(value, Mapping):
        return {"items": [[key, _strip(item, f"{path}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_strip(item, f"{path}/{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{path}: a {type(value).__name__} cannot be saved; states hold tensors, numbers, text and containers"
    )


def _restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]].to(torch.device(value["device"]))
    if "items" in value:
        return {key: _restore(item, tensors) for key, item in value["items"]}
    if "tuple" in value:
        return tuple(_restore(item, tensors) for item in value["tuple"])
    return [_restore(item, tensors) for item in value["list"]]
