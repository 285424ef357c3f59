"""Writing files so that a reader never sees half of one, and a failed write loses nothing."""

import contextlib
import glob
import os
import tempfile
from pathlib import Path

_UNFINISHED = ".part"


def write_atomically(path: Path, data: bytes, *, owner_only: bool = False) -> None:
    """Write beside `path`, flush to the disk, then rename over it: the old content stays until the new is whole.

    `owner_only` keeps others from reading it. Raises `OSError` that names the file and says that its last good version is
    kept; no temporary file remains.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_UNFINISHED, dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if not owner_only:
            os.chmod(name, 0o644)
        os.replace(name, path)
    except ConnectionError:  # another process of the run was lost meanwhile; the old content stays
        raise
    except OSError as error:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)
        kept = "its last good version is kept" if path.exists() else "nothing was there before"
        raise OSError(
            error.errno, f"could not write {path} ({error.strerror}); {kept}; free some space and run again"
        ) from error


def remove_leftovers(path: Path) -> None:
    """Delete what writers of `path` that were killed have left beside it."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_UNFINISHED}"):
        leftover.unlink(missing_ok=True)


def cache_folder(name: str) -> Path:
    """The user's own folder for what can be had again: `$XDG_CACHE_HOME` or `~/.cache`, then `stillroom/NAME`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stillroom" / name
