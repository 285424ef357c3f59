"""A class or function, or a `functools.partial` of one, read alike: recipes fix values of methods and networks so."""

import functools
import inspect
from typing import Any


def wrapped(target: Any) -> Any:
    """What a partial is of, or `target` itself where it is none."""
    return target.func if isinstance(target, functools.partial) else target


def fixed(target: Any) -> dict[str, Any]:
    """The keyword values that a partial fixes; none where `target` is no partial."""
    return dict(target.keywords) if isinstance(target, functools.partial) else {}


def declared(target: Any, name: str, default: Any) -> Any:
    """The class attribute `name` of a method's class; of a method around another (`inner`) that has none, the inner one's."""
    if name in vars(wrapped(target)) or "inner" not in fixed(target):
        return getattr(wrapped(target), name, default)
    return declared(fixed(target)["inner"], name, default)


def built(target: Any, /, **parts: Any) -> Any:
    """`target`, called with those of `parts` that it takes; what a partial fixes as `inner` is built with them first."""
    inner = fixed(target).get("inner")
    own = {"inner": built(inner, **parts)} if inner is not None else {}
    taken = inspect.signature(wrapped(target)).parameters
    return target(**own, **{name: value for name, value in parts.items() if name in taken})
