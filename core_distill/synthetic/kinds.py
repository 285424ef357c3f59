"""What a synthetic set may be made of, by the names that recipes, files and the command line use."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn

from core_distill.synthetic.labels import GivenLabels, HardLabels, SoftLabels
from core_distill.synthetic.pixels import Pixels

StartLabels = Callable[[Tensor, int], nn.Module]
"""`start(targets, num_classes)`: labels that stand for the class numbers `targets (slots,)`."""


class LabelMode(NamedTuple):
    """`kind` is the class that a file's `from_config` belongs to; `start` is None where class numbers do not say enough."""

    kind: Any
    start: StartLabels | None


LABELS: dict[str, LabelMode] = {
    "hard": LabelMode(HardLabels, HardLabels),
    "soft": LabelMode(SoftLabels, SoftLabels.starting_at),
    "given": LabelMode(GivenLabels, None),
}
"""The label modes."""

PARAMETRISATIONS: dict[str, Any] = {"pixels": Pixels}
"""The classes of images: called with images `(slots, *shape)` to start at, or made empty by `from_config`."""
