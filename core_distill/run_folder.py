"""One folder a run: who it belongs to, its checkpoint, its artefact and its results, each written atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core_distill.checkpoint import Checkpoint
from core_distill.files import write_atomically


class RunFolder:
    """The files of one run; opening it for another run is refused.

    Files: `run.json` (identity), `checkpoint.safetensors`, `synthetic.safetensors` (the artefact), `images.png`,
    `results.json`.

    Raises `ValueError` where `path` holds another run, or files that are no run at all.
    """

    def __init__(self, path: Path, *, identity: Mapping[str, object]) -> None:
        self.path = path
        self._identity = json.loads(json.dumps(identity))
        self.artefact = path / "synthetic.safetensors"
        self.picture = path / "images.png"
        self._results_path = path / "results.json"
        record = path / "run.json"
        if record.exists():
            self._refuse_other_run(record)
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError(f"{path} exists and is not a run of stillroom; choose another output folder with --out")
        else:
            write_atomically(record, _json(self._identity))

    def _refuse_other_run(self, record: Path) -> None:
        try:
            found = json.loads(record.read_text())
            keys = sorted(set(found) | set(self._identity))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{record} is damaged ({error}); delete the folder or choose another with --out"
            ) from error
        differing = [key for key in keys if found.get(key) != self._identity.get(key)]
        if differing:
            told = "; ".join(
                f"{key} is {_short(found.get(key))}, now {_short(self._identity.get(key))}" for key in differing
            )
            raise ValueError(f"{self.path} belongs to another run ({told}); choose another output folder with --out")

    def checkpoint(self) -> Checkpoint:
        """The checkpoint of this run, resumed from where it stands."""
        return Checkpoint(self.path / "checkpoint.safetensors", identity=self._identity)

    def results(self) -> dict[str, Any]:
        """What was measured so far; empty at the start."""
        if not self._results_path.exists():
            return {}
        content: dict[str, Any] = json.loads(self._results_path.read_text())
        return content

    def write_results(self, results: Mapping[str, object]) -> None:
        """Replace `results.json`."""
        write_atomically(self._results_path, _json(results))


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."
