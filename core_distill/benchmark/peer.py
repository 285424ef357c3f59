"""Reference codes as runners: their own functions from the user's checkout, on our tensors, looped over as they do.

Nothing of them is stored here. What a checkout's main script does between its functions is written anew.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from core_distill.benchmark.inputs import Inputs
from core_distill.benchmark.peer_condensation import CONDENSATION, undisturbed
from core_distill.benchmark.peer_trajectories import TRAJECTORIES
from core_distill.benchmark.unit import Prepare, Timed


@dataclass(frozen=True)
class Peer:
    """A reference code: its name, the units of work it can run, and a short digest of its Python files."""

    name: str
    work: Mapping[str, Prepare]
    digest: str


_Prepare = Callable[[Path, Inputs], tuple[Timed, ...]]


class _Kind(NamedTuple):
    name: str
    files: tuple[str, ...]
    work: Mapping[str, _Prepare]


_KINDS = (
    _Kind("mtt-distillation", ("distill.py", "networks.py", "reparam_module.py", "utils.py"), TRAJECTORIES),
    _Kind("DatasetCondensation", ("main.py", "main_DM.py", "networks.py", "utils.py"), CONDENSATION),
)


def open_peer(folder: Path) -> Peer:
    """The reference code that is checked out in `folder`, known by its files; imported when it is first prepared.

    Raises `ValueError` where it is none that is known.
    """
    found = {file.name for file in folder.glob("*.py")} if folder.is_dir() else set()
    for kind in _KINDS:
        if found.issuperset(kind.files):
            work = {name: functools.partial(_prepared, prepare, folder) for name, prepare in kind.work.items()}
            return Peer(kind.name, work, _digest(folder / name for name in sorted(found)))
    known = " or ".join(f"{kind.name} (with {', '.join(kind.files)})" for kind in _KINDS)
    raise ValueError(f"{folder} is no checkout of {known}; clone one and give its folder")


def _prepared(prepare: _Prepare, folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    with undisturbed(inputs):
        return prepare(folder, inputs)


def _digest(files: Iterable[Path]) -> str:
    together = hashlib.sha256()
    for file in files:
        together.update(file.read_bytes())
    return together.hexdigest()[:16]
