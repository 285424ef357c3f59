"""Importing the modules of a research checkout next to ours: their names are common, and some of their imports are gone."""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_STAND_INS = ("kornia", "scipy", "torchvision", "tqdm", "wandb")
"""Packages of which research codes import parts that the timed functions never call."""


def import_from(folder: Path, names: Sequence[str]) -> dict[str, ModuleType]:
    """The modules `names` of `folder`, by name; afterwards nothing of them is left in `sys.path` or `sys.modules`.

    What they import of kornia, scipy, torchvision, tqdm and wandb and is not installed is stood in for by something that
    raises when it is used. Raises `ValueError` where an import fails all the same.
    """
    kept, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    ours = {file.stem for file in folder.glob("*.py")} | {file.parent.name for file in folder.glob("*/__init__.py")}
    for name in ours & set(sys.modules):
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    sys.meta_path.append(_StandIns())
    importlib.invalidate_caches()
    try:
        with warnings.catch_warnings(), _no_bytecode():
            warnings.simplefilter("ignore")
            return {name: importlib.import_module(name) for name in names}
    except Exception as error:
        raise ValueError(
            f"{folder} cannot be imported ({type(error).__name__}: {error}); is its checkout whole?"
        ) from error
    finally:
        sys.path[:], sys.meta_path[:] = path, finders
        for name, module in list(sys.modules.items()):
            if name in ours or isinstance(module, _StandIn):
                del sys.modules[name]
                _forget_part(name, module)
        sys.modules.update({name: module for name, module in kept.items() if name in ours})


def _forget_part(name: str, module: ModuleType) -> None:
    """Take a module off the package that an import has hung it on."""
    package, _, part = name.rpartition(".")
    if package in sys.modules and vars(sys.modules[package]).get(part) is module:
        delattr(sys.modules[package], part)


class _StandIn(ModuleType):
    """A module that is not installed: any name can be imported from it, none can be used."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Unusable(f"{self.__name__}.{name}")


class _Unusable:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: object, **__: object) -> Any:
        raise ModuleNotFoundError(f"{self._name} was called, but is not installed here")


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last of all, for modules that nobody has."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in _STAND_INS:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


@contextlib.contextmanager
def _no_bytecode() -> Iterator[None]:
    """Leave nothing in the folder."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before
