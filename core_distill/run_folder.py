"""One folder a run: who it belongs to, its checkpoint, its artefact and its results, each written atomically."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core_distill.checkpoint import Checkpoint
from core_distill.files import remove_leftovers, write_atomically
from core_distill.identity import differences, told
from core_distill.synthetic.storage import ARTEFACT

_RECORD, _RESULTS = "run.json", "results.json"

WHITENING = "whitening.safetensors"
"""The name of the file that whitens what a set of whitened images is tested on."""


class RunFolder:
    """The files of one run; opening it for another run is refused.

    Files: `run.json` (identity), `checkpoint.safetensors`, `synthetic.safetensors` (the artefact), `images.png`,
    `results.json`, and of whitened images `whitening.safetensors`.

    Raises `ValueError` where `path` holds another run, or files that are no run at all.
    """

    def __init__(self, path: Path, *, identity: Mapping[str, object]) -> None:
        self.path = path
        self._identity = json.loads(json.dumps(identity))
        self.artefact = path / ARTEFACT
        self.picture = path / "images.png"
        self.whitening = path / WHITENING
        self._results_path = path / _RESULTS
        self._checkpoint_path = checkpoint_of(path)
        record = path / _RECORD
        remove_leftovers(record)
        if record.exists():
            self._refuse_other_run(record)
            for file in (self._checkpoint_path, self.artefact, self.picture, self.whitening, self._results_path):
                remove_leftovers(file)
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError(f"{path} exists and is not a run of stillroom; choose another output folder with --out")
        else:
            write_atomically(record, _json(self._identity))

    def _refuse_other_run(self, record: Path) -> None:
        apart = differences(_read(record), self._identity)
        if apart:
            other = "choose another output folder with --out"
            if all(name.split(".")[0] in ("protocol", "baselines") for name in apart) and self.artefact.exists():
                other = f"score the set that is there by `stillroom evaluate {self.artefact}`, or {other}"
            raise ValueError(f"{self.path} belongs to another run ({told(apart)}); {other}")

    @contextmanager
    def given_up_on_failure(self) -> Iterator[None]:
        """An error inside gives the folder up where the run has left nothing but its name in it: another may have it."""
        try:
            yield
        except Exception:
            if {file.name for file in self.path.iterdir()} == {_RECORD}:
                (self.path / _RECORD).unlink()
            raise

    def checkpoint(self, *, every_seconds: float = 20.0) -> Checkpoint:
        """The checkpoint of this run, resumed from where it stands and written at most every `every_seconds`."""
        return Checkpoint(self._checkpoint_path, identity=self._identity, every_seconds=every_seconds)

    def results(self) -> dict[str, Any]:
        """What was measured so far; empty at the start. Raises `ValueError` where the file is damaged."""
        return _read(self._results_path) if self._results_path.exists() else {}

    def write_results(self, results: Mapping[str, object]) -> None:
        """Replace `results.json`."""
        write_atomically(self._results_path, _json(results))


def is_finished(path: Path) -> bool:
    """Whether the run in the folder `path` ended: its results say so, and what it released is there."""
    results = path / _RESULTS
    return results.exists() and (path / ARTEFACT).exists() and bool(_read(results).get("finished"))


def refuse_run(path: Path, *, what: str) -> None:
    """Raise `ValueError` where `path` is a run's folder, and so no place for `what`."""
    if (path / _RECORD).exists():
        raise ValueError(f"{path} is the folder of a run, which is no place for {what}; choose another folder for them")


def checkpoint_of(path: Path) -> Path:
    """Where the checkpoint of the run in the folder `path` is."""
    return path / "checkpoint.safetensors"


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete the folder or choose another with --out") from error
    return content
