"""A recipe of the user's own, from a file that is no part of the library: `my_method.py:moments`."""

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from core_distill.recipes.recipe import Recipe


class _Own(NamedTuple):
    """A file that was run, and what it held then."""

    module: ModuleType
    digest: str


def is_own(name: str) -> bool:
    """Whether a recipe's name means a function of a file, `FILE.py:FUNCTION`."""
    return name.partition(":")[0].endswith(".py")


def own_recipe(name: str, **values: Any) -> Recipe:
    """What the function of `FILE.py:FUNCTION` returns for `values`, those that the library's own recipes are called with.

    The file runs as an imported module does, once a process; other processes do not know what it defines. The recipe's
    `source` ends with the file's name and digest, so that a run does not go on with a file that was changed; files that it
    imports are not looked at.

    Raises `ValueError` where there is no such file or function, where running it fails, and where it returns no `Recipe`.
    """
    path, _, function = name.partition(":")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}; a recipe of one's own is FILE.py:FUNCTION")
    own = _told(name, lambda: _run(Path(path).resolve()))
    make = getattr(own.module, function, None) if function else None
    if not callable(make):
        raise ValueError(
            f"{name} names no function: a recipe of one's own is FILE.py:FUNCTION, which takes images_per_class, data and "
            "schedule and returns a Recipe"
        )
    made = _told(name, lambda: make(**values))
    if not isinstance(made, Recipe):
        raise ValueError(f"{name} returned a {type(made).__name__}, where a Recipe is needed")
    return made.because(f"{made.source} ({Path(path).name}, SHA-256 {own.digest[:16]})")


def _told(name: str, do: Callable[[], Any]) -> Any:
    """What `do` returns; what fails in the user's file is told as the user's, with its name."""
    try:
        return do()
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{name} cannot be used: {type(error).__name__}: {error}") from error


@functools.cache
def _run(path: Path) -> _Own:
    """The file as a module, under a name of its own: what it defines is looked up there, as dataclasses do."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"stillroom_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return _Own(module, digest)
