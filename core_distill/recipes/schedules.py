"""The two schedules that every recipe has."""

from typing import Literal

Schedule = Literal["paper", "cpu"]
"""`paper`: the published values; `cpu`: the same method sized for minutes on two cores."""
