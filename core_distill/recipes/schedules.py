"""What recipes share: the two schedules, and which siamese operations suit which data."""

from typing import Literal

Schedule = Literal["paper", "cpu"]
"""`paper`: the published values; `cpu`: the same method sized for minutes on two cores."""

_MIRRORED_MEANS_ANOTHER = ("digits", "mnist", "svhn")


def siamese_operations(data: str) -> tuple[str, ...]:
    """DSA's strategy (arXiv 2102.08259) for a data set: all six operations, without flips for digits."""
    flip = () if data in _MIRRORED_MEANS_ANOTHER else ("flip",)
    return ("color", "crop", "cutout", *flip, "scale", "rotate")
