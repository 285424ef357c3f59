"""The two schedules that every recipe has, and which published values they start from."""

from collections.abc import Collection, Iterable
from typing import Literal, get_args

Schedule = Literal["paper", "cpu"]
"""`paper`: the published values; `cpu`: the same method sized for minutes on two cores."""


def is_paper(schedule: Schedule) -> bool:
    """Whether the published values are asked for; `ValueError` for a schedule that does not exist."""
    if schedule not in get_args(Schedule):
        raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {schedule!r}")
    return schedule == "paper"


def nearest_budget(budgets: Iterable[int], images_per_class: int) -> int:
    """The largest of the published budgets that is not larger than this one; the smallest where all are."""
    known = sorted(budgets)
    return max((budget for budget in known if budget <= images_per_class), default=known[0])


def told_of(data: str, published: Collection[str], instead: str = "CIFAR-10") -> str:
    """The beginning of a source: says so where values were published for other data, and which were taken `instead`."""
    return "" if data in published else f"nothing is published for this data, so {instead}'s: "
