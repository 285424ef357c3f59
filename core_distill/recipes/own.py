"""A recipe of the user's own, from a file that is no part of the library: `my_method.py:moments`."""

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from core_distill.recipes.recipe import Recipe

_SUFFIX = ".py"


def is_own(name: str) -> bool:
    """Whether a recipe's name means a function of a file, `FILE.py:FUNCTION`."""
    return name.partition(":")[0].endswith(_SUFFIX)


def own_recipe(name: str) -> Callable[..., Recipe]:
    """The function that `FILE.py:FUNCTION` means; the file runs as an imported module does, once a process.

    It is called as the library's own are, `function(images_per_class=, data=, schedule=)`, and returns a `Recipe`. Raises
    `ValueError` where there is no such file or function, and the returned function where it returns something else.
    """
    path, _, function = name.partition(":")
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}; a recipe of one's own is FILE.py:FUNCTION")
    make = getattr(_loaded(Path(path).resolve()), function, None) if function else None
    if not callable(make):
        raise ValueError(
            f"{name} names no function: a recipe of one's own is FILE.py:FUNCTION, which takes images_per_class, data and "
            "schedule and returns a Recipe"
        )

    def checked(**values: object) -> Recipe:
        made = make(**values)
        if not isinstance(made, Recipe):
            raise ValueError(f"{name} returned a {type(made).__name__}, where a Recipe is needed")
        return made

    return checked


@functools.cache
def _loaded(path: Path) -> ModuleType:
    """The file as a module, under a name of its own: what it defines is looked up there, as dataclasses do."""
    name = f"stillroom_own_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
