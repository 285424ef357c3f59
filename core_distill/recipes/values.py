"""The plain values of a recipe's parts, by name: read from keyword defaults and partials, and from text."""

import contextlib
import functools
import inspect
import math
from collections.abc import Mapping
from typing import Any

from core_distill.matching.implicit import INVERSES
from core_distill.networks import NETWORKS, NORMS
from core_distill.partials import fixed, wrapped
from core_distill.recipes.batches import BATCHES
from core_distill.recipes.label_kernels import LABEL_KERNELS
from core_distill.recipes.labels import LABEL_STARTS
from core_distill.recipes.optimizers import DECAYS, OPTIMIZERS
from core_distill.recipes.step_sizes import STEP_SIZES
from core_distill.synthetic.initialise import INITIALISERS
from core_distill.synthetic.kinds import IMAGE_STARTS

CHOICES: dict[str, Mapping[str, Any]] = {
    "batches": BATCHES,
    "decay": DECAYS,
    "images": IMAGE_STARTS,
    "initialise": INITIALISERS,
    "inverse": INVERSES,
    "labels": LABEL_STARTS,
    "network": NETWORKS,
    "norm": NORMS,
    "optimizer": OPTIMIZERS,
    "solve_kernel": LABEL_KERNELS,
    "step_sizes": STEP_SIZES,
}
"""Fields whose values are functions or classes, with the names by which they are chosen and written down."""


def keywords(target: Any) -> dict[str, Any]:
    """The plain keyword values of a class or function, defaults overlaid with what a partial fixes.

    What a partial fixes as `inner`, a method inside a method, has its values among them.
    """
    parameters = inspect.signature(wrapped(target)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    own = {**defaults, **fixed(target)}
    inside = keywords(own["inner"]) if "inner" in own else {}
    return inside | {
        name: value for name, value in own.items() if isinstance(value, int | float | str | tuple) or name in CHOICES
    }


def functions(target: Any) -> dict[str, str]:
    """Names of what a partial fixes beside plain values, such as a distance."""
    plain = keywords(target)
    others = {name: value for name, value in fixed(target).items() if name not in plain}
    inside = functions(others["inner"]) if "inner" in others else {}
    named = {name: getattr(wrapped(value), "__qualname__", type(value).__qualname__) for name, value in others.items()}
    return inside | named


def with_keyword(target: Any, name: str, value: Any) -> Any:
    """`target` with the keyword value `name`, its own or that of its `inner` one, fixed at `value`."""
    inner = fixed(target).get("inner")
    if name in inspect.signature(wrapped(target)).parameters or inner is None:
        return functools.partial(target, **{name: value})
    return functools.partial(target, inner=with_keyword(inner, name, value))


def written(name: str, value: Any) -> Any:
    """A value as files and messages have it: a choice by its name, a tuple with commas."""
    if name in CHOICES:
        value = wrapped(value)
        return next(
            (word for word, choice in CHOICES[name].items() if wrapped(choice) == value),
            getattr(value, "__name__", str(value)),
        )
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def read(name: str, value: object, current: object) -> Any:
    """`value`, which may be text, as the type that `current` has; `ValueError` where it is none of those."""
    if name in CHOICES:
        choices = CHOICES[name]
        if isinstance(value, str) and value in choices:
            return choices[value]
        if wrapped(value) in [wrapped(choice) for choice in choices.values()]:
            return value
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    try:
        return _read_plain(value, current)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        kinds = {
            bool: "true or false",
            float: "a number",
            int: "a whole number from 0 up",
            tuple: "numbers with commas",
        }
        kind = kinds[type(current)]
        raise ValueError(f"{name} must be {kind}, like {current!r}, got {value!r}") from error


def _read_plain(value: object, current: object) -> Any:
    if isinstance(current, bool):
        return {"true": True, "false": False}[str(value).lower()]
    if isinstance(current, int):
        number = float(str(value))
        if number != int(number) or number < 0:
            raise ValueError
        return int(number)
    if isinstance(current, tuple):
        parts = [part for part in value.split(",") if value] if isinstance(value, str) else value
        kind = type(current[0]) if current else _guessed
        return tuple(kind(part) for part in parts)  # type: ignore[attr-defined]
    if isinstance(current, float) and not math.isfinite(float(str(value))):
        raise ValueError
    return type(current)(value)  # type: ignore[call-arg]


def _guessed(part: object) -> int | float | str:
    """A part of a tuple that was empty: a number where it is one."""
    text = str(part)
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
