"""What `stillroom demo` hands to each package and gets back."""

from pathlib import Path
from typing import NamedTuple

from core_distill.data import DataSplits
from core_distill.recipes import Recipe
from core_distill.synthetic import SyntheticSet


class DemoContext(NamedTuple):
    """The core's part of the demo, for the adapters to build on; each writes below `out`."""

    data: DataSplits
    recipe: Recipe
    synthetic: SyntheticSet
    out: Path
    seed: int
    device: str


class DemoRow(NamedTuple):
    """One line of the table: a number and the one it has to be read beside."""

    what: str
    value: str
    baseline: str
    baseline_value: str
