"""How many step sizes a set has: one that every training step shares, or one for each step of the method's training."""

from collections.abc import Callable, Mapping
from typing import Any

CountStepSizes = Callable[[Mapping[str, Any]], int]
"""`count(values) -> int`: how many step sizes a recipe with these values needs; 0 is one number without a dimension."""


def shared(values: Mapping[str, Any]) -> int:
    """One for all steps."""
    return 0


def each(values: Mapping[str, Any]) -> int:
    """One for each of the method's `inner_steps`, in each of its `inner_epochs` where it has those.

    Raises `ValueError` for a method that trains no such steps.
    """
    if "inner_steps" not in values:
        raise ValueError("step_sizes=each needs a method with inner_steps, which this recipe's has not; use shared")
    return int(values["inner_steps"]) * int(values.get("inner_epochs", 1))


STEP_SIZES: dict[str, CountStepSizes] = {"each": each, "shared": shared}
