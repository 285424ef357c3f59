"""A class or function, or a `functools.partial` of one, read alike: recipes fix values of methods and networks so."""

import functools
from typing import Any


def wrapped(target: Any) -> Any:
    """What a partial is of, or `target` itself where it is none."""
    return target.func if isinstance(target, functools.partial) else target


def fixed(target: Any) -> dict[str, Any]:
    """The keyword values that a partial fixes; none where `target` is no partial."""
    return dict(target.keywords) if isinstance(target, functools.partial) else {}
