"""How experts are trained, and what tells experts of one kind from those of another."""

import dataclasses
import inspect
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core_distill.engine import DEFAULT_ENGINE, Engine
from core_distill.networks.initialise import FreshNetworks
from core_distill.training import Direction, steepest
from core_distill.training.flat_minima import FlatDirection
from core_distill.types import NetworkFactory, SiameseAugment

if TYPE_CHECKING:
    from core_distill.data import ClassSampler


@dataclass(frozen=True, kw_only=True)
class ExpertTraining:
    """How experts are trained: SGD on the cross-entropy, augmented, parameters kept after every epoch.

    MTT's (arXiv 2203.11932) are 100 experts of 50 epochs at rate 0.01 without momentum, batch 256, DSA augmentation. FTD's
    (arXiv 2211.11004) seek flat minima besides, which takes two gradients a step.

    Args:
        num_experts: a folder may hold more of the same kind; the first so many are used.
        training_epochs, training_rate, training_momentum, training_batch_size: of each expert's training.
        training_images: how many images an epoch sees, drawn anew for each; 0 is all of them.
        training_seed: of the experts' random numbers, apart from the run's, so that runs of several seeds can share them.
        training_radius, training_gap_weight: rho and alpha of flat minima, see `FlatDirection`; a radius of 0 is plain SGD.

    Raises `ValueError` for values out of range.
    """

    num_experts: int = 10
    training_epochs: int = 20
    training_rate: float = 0.01
    training_momentum: float = 0.0
    training_batch_size: int = 256
    training_images: int = 0
    training_seed: int = 0
    training_radius: float = 0.0
    training_gap_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_experts", "training_epochs", "training_batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("training_images", "training_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 < self.training_rate < math.inf:
            raise ValueError(f"training_rate must be above 0, got {self.training_rate}")
        if not 0 <= self.training_momentum < 1:
            raise ValueError(f"training_momentum must lie in [0, 1), got {self.training_momentum}")
        for name in ("training_radius", "training_gap_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.training_gap_weight and not self.training_radius:
            warnings.warn("training_gap_weight has no effect: training_radius is 0, so SGD is plain", stacklevel=3)

    @property
    def direction(self) -> Direction:
        """What a step of training goes against."""
        if not self.training_radius:
            return steepest
        return FlatDirection(self.training_radius, self.training_gap_weight)

    @property
    def passes(self) -> int:
        """Gradients that a step takes."""
        return 2 if self.training_radius else 1

    def values(self) -> dict[str, int | float]:
        """Every field by name."""
        return dataclasses.asdict(self)


def expert_identity(
    real: "ClassSampler",
    new_network: NetworkFactory,
    training: ExpertTraining,
    *,
    augment: SiameseAugment,
    engine: Engine = DEFAULT_ENGINE,
) -> dict[str, object]:
    """What experts are of, as JSON values: equal ones train to the same experts, whatever their number."""
    idle = {"num_experts"} if training.training_radius else {"num_experts", "training_radius", "training_gap_weight"}
    return {
        "data": real.digest(),
        "network": _described(new_network),
        "augment": repr(augment),
        "precision": engine.precision,
        **{name: value for name, value in training.values().items() if name not in idle},
    }


def _described(new_network: NetworkFactory) -> dict[str, object]:
    """A kind of network as JSON values; two ways to write the same options are one."""
    if not isinstance(new_network, FreshNetworks):
        return {"kind": _text(new_network)}
    parameters = inspect.signature(new_network.architecture).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    options = {**defaults, **dict(new_network.options)}
    return {
        "kind": new_network.architecture.__name__,
        "image_shape": list(new_network.image_shape),
        "num_classes": new_network.num_classes,
        "options": {name: _text(value) for name, value in sorted(options.items())},
    }


def _text(value: object) -> object:
    """An option as a JSON value, alike in every process unless it has no name of its own; then it holds a `<`."""
    return value if isinstance(value, int | float | str | tuple) else getattr(value, "__name__", repr(value))
