"""A recipe: everything a distillation needs except the data and the seed, with where each value came from."""

import dataclasses
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from core_distill.augment import Dsa, no_augment
from core_distill.networks import NETWORKS, NORMS, Architecture, ConvNet
from core_distill.networks.expert_training import ExpertTraining
from core_distill.partials import fixed, wrapped
from core_distill.recipes.optimizers import DECAYS, OPTIMIZERS, Decay, NewOptimizer, constant, sgd
from core_distill.recipes.step_sizes import STEP_SIZES, CountStepSizes, each, shared
from core_distill.synthetic import HardLabels, Pixels
from core_distill.synthetic.initialise import INITIALISERS, Initialise, real_images
from core_distill.synthetic.kinds import LABELS, PARAMETRISATIONS
from core_distill.types import Method

LABEL_MODES = {name: mode.start for name, mode in LABELS.items() if mode.start is not None}
"""The label modes that a recipe can start."""

_CHOICES: dict[str, Mapping[str, Any]] = {
    "decay": DECAYS,
    "images": PARAMETRISATIONS,
    "initialise": INITIALISERS,
    "labels": LABEL_MODES,
    "network": NETWORKS,
    "norm": NORMS,
    "optimizer": OPTIMIZERS,
    "step_sizes": STEP_SIZES,
}
"""Fields whose values are functions or classes, with the names by which they are chosen and written down."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to distil, complete: what is learned, what is matched, for how long.

    Args:
        paper: title and arXiv number.
        source: where the values came from, and what departs from the paper.
        steps: losses in all (an episode may yield several).
        method: a method class or a partial of one that fixes values; it is called with `real`, `new_network`, `augment`.
        network: the architecture that is matched on.
        step_size, step_sizes: where the set's step size starts, and whether training steps share one or have one each.
        learn_step_size: whether it is learned with the images.
        optimizer: of what is learned, with its `momentum`; Adam's is beta 1.
        image_learning_rate, label_learning_rate, step_learning_rate: where they start.
        decay: how they go down over the steps.
        experts: how the experts are trained that the method gets as `experts`, for one that matches trajectories.
    """

    name: str
    paper: str
    source: str
    method: Callable[..., Method]
    images_per_class: int
    steps: int
    network: Architecture = ConvNet
    augment: Dsa = no_augment
    images: Callable[[Tensor], nn.Module] = Pixels
    labels: Callable[[Tensor, int], nn.Module] = HardLabels
    initialise: Initialise = real_images
    image_learning_rate: float = 1.0
    label_learning_rate: float = 0.1
    step_size: float = 0.01
    step_sizes: CountStepSizes = shared
    learn_step_size: bool = False
    step_learning_rate: float = 1e-5
    momentum: float = 0.5
    optimizer: NewOptimizer = sgd
    decay: Decay = constant
    experts: ExpertTraining | None = None

    def __post_init__(self) -> None:
        for name in ("images_per_class", "steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"step_size must be above 0, got {self.step_size}")
        for name in ("image_learning_rate", "label_learning_rate", "step_learning_rate", "momentum"):
            if not 0 <= getattr(self, name) < math.inf:  # PyTorch checks none of these in a group of parameters
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        self._refuse_unused_step_sizes()

    def values(self) -> dict[str, Any]:
        """Every value that `with_values` may change, by name: the recipe's own, its method's, network's and experts'."""
        return {name: _written(name, value) for name, value in self._named().items()}

    def _named(self) -> dict[str, Any]:
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for outside in ("name", "paper", "source", "method", "network", "experts"):
            del own[outside]
        own["augment"] = ",".join(self.augment.operations)
        own["network"] = wrapped(self.network)
        training = self.experts.values() if self.experts else {}
        return dict(sorted({**own, **_keywords(self.method), **_keywords(self.network), **training}.items()))

    def with_values(self, changes: Mapping[str, object]) -> Self:
        """This recipe with some values changed; text is read as the type the value has, `"60"` as a number.

        A value without effect warns: a rate of what is not learned, a step size that the method does not train by. Raises
        `ValueError` for a name that does not exist (listing those that do) or a value of another type.
        """
        if "network" in changes:
            other = dataclasses.replace(self, network=_read("network", changes["network"], None))
            return other.with_values({name: value for name, value in changes.items() if name != "network"})
        known = self._named()
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ValueError(f"recipe {self.name} has no value {', '.join(unknown)}; it has {', '.join(known)}")
        own: dict[str, Any] = {}
        training: dict[str, Any] = {}
        network = self.network
        for name, value in ((name, _read(name, value, known[name])) for name, value in changes.items()):
            if name == "augment":
                own["augment"] = Dsa(operations=tuple(part for part in value.split(",") if part))
            elif name in _keywords(self.method):
                own["method"] = functools.partial(own.get("method", self.method), **{name: value})
            elif name in _keywords(network):
                network = functools.partial(network, **{name: value})
            elif self.experts and name in self.experts.values():
                training[name] = value
            else:
                own[name] = value
        if training and self.experts:
            own["experts"] = dataclasses.replace(self.experts, **training)
        changed = dataclasses.replace(self, network=network, **own)
        changed._warn_of_idle_values(self)
        return changed

    @property
    def learned(self) -> tuple[str, ...]:
        """What the set of this recipe learns: `images`, and `labels` and `step size` where it does."""
        labels = ("labels",) if self.labels is not HardLabels else ()
        return "images", *labels, *(("step size",) if self.learn_step_size else ())

    @property
    def uses_step_size(self) -> bool:
        """Whether the method trains by the step size of the set; of one that does not say, True."""
        return getattr(wrapped(self.method), "uses_step_size", True) is not False

    def _refuse_unused_step_sizes(self) -> None:
        asked = {"learn_step_size=true": self.learn_step_size, "step_sizes=each": self.step_sizes is each}
        if self.uses_step_size or not any(asked.values()):
            return
        from core_distill.recipes import RECIPES

        others = sorted(name for name, make in RECIPES.items() if make(images_per_class=1).uses_step_size)
        raise ValueError(
            f"recipe {self.name} does not train by the set's step size, so it takes no "
            f"{' and no '.join(name for name, is_asked in asked.items() if is_asked)}; recipes that learn step sizes are "
            f"{', '.join(others)}"
        )

    def _warn_of_idle_values(self, before: Self) -> None:
        for name, what in (("label_learning_rate", "labels"), ("step_learning_rate", "step size")):
            if what not in self.learned and getattr(self, name) != getattr(before, name):
                warnings.warn(f"{name} has no effect: recipe {self.name} does not learn what it is for", stacklevel=3)
        if not self.uses_step_size and self.step_size != before.step_size:
            warnings.warn(
                f"step_size has no effect: recipe {self.name} does not train by it, the released set only says it",
                stacklevel=3,
            )

    def because(self, source: str) -> Self:
        """This recipe with another account of where its values came from."""
        return dataclasses.replace(self, source=source)

    def renamed(self, name: str, *, paper: str) -> Self:
        """This recipe under another name, for another paper."""
        return dataclasses.replace(self, name=name, paper=paper)

    def describe(self) -> dict[str, object]:
        """What the artefact and the checkpoint say of this recipe: JSON values only."""
        method = wrapped(self.method)
        return {
            "name": self.name,
            "paper": self.paper,
            "source": self.source,
            "method": method.__name__,
            "values": self.values(),
            "functions": {**_functions(self.method), **_functions(self.network)},
        }


def _keywords(target: Any) -> dict[str, Any]:
    """The plain keyword values of a method or network, defaults overlaid with what a partial fixes."""
    parameters = inspect.signature(wrapped(target)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    values = {**defaults, **fixed(target)}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float | str | tuple) or name in _CHOICES
    }


def _functions(target: Any) -> dict[str, str]:
    """Names of what a partial fixes beside plain values, such as a distance."""
    others = {name: value for name, value in fixed(target).items() if name not in _keywords(target)}
    return {name: getattr(value, "__qualname__", type(value).__qualname__) for name, value in others.items()}


def _written(name: str, value: Any) -> Any:
    if name in _CHOICES:
        return next(
            (word for word, choice in _CHOICES[name].items() if choice == value), getattr(value, "__name__", str(value))
        )
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _read(name: str, value: object, current: object) -> Any:
    if name in _CHOICES:
        choices = _CHOICES[name]
        if isinstance(value, str) and value in choices:
            return choices[value]
        if value in choices.values():
            return value
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    try:
        if isinstance(current, bool):
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(current, int):
            number = float(str(value))
            if number != int(number) or number < 0:
                raise ValueError
            return int(number)
        if isinstance(current, tuple):
            parts = value.split(",") if isinstance(value, str) else value
            return tuple(type(current[0])(part) for part in parts)  # type: ignore[attr-defined]
        if isinstance(current, float) and not math.isfinite(float(str(value))):
            raise ValueError
        return type(current)(value)  # type: ignore[call-arg]
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        kinds = {
            bool: "true or false",
            float: "a number",
            int: "a whole number from 0 up",
            tuple: "numbers with commas",
        }
        kind = kinds[type(current)]
        raise ValueError(f"{name} must be {kind}, like {current!r}, got {value!r}") from error
