"""What numbers of a method may be: errors name the method's own value, which those of what it calls cannot know."""

import math


def check_from_zero(method: object, *names: str) -> None:
    """Raise `ValueError` unless these attributes, such as learning rates and weights, are finite and at least 0."""
    for name in names:
        if not 0 <= getattr(method, name) < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {getattr(method, name)}")


def check_momenta(method: object, *names: str) -> None:
    """Raise `ValueError` unless these attributes lie in `[0, 1)`."""
    for name in names:
        if not 0 <= getattr(method, name) < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {getattr(method, name)}")


def check_from_one(method: object, *names: str) -> None:
    """Raise `ValueError` unless these attributes, such as numbers of steps, are at least 1."""
    for name in names:
        if getattr(method, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(method, name)}")
