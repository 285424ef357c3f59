"""A recipe: everything a distillation needs except the data and the seed, with where each value came from."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from core_distill.augment import Dsa, no_augment
from core_distill.averaging import check_decay
from core_distill.networks import Architecture, ConvNet
from core_distill.partials import declared, wrapped
from core_distill.recipes.batches import NewBatches, uniform
from core_distill.recipes.labels import LABEL_MODES, LabelMode, hard
from core_distill.recipes.optimizers import Decay, NewOptimizer, constant, sgd
from core_distill.recipes.step_sizes import CountStepSizes, each, shared
from core_distill.recipes.values import functions, keywords, read, with_keyword, written
from core_distill.synthetic import Pixels
from core_distill.synthetic.initialise import real_images, recognised_images
from core_distill.synthetic.start import Initialise, StartImages, StartLabels
from core_distill.training.expert_settings import ExpertTraining
from core_distill.types import Method

_TEACHER = ExpertTraining(num_experts=1, training_epochs=10)
"""What labels are asked of in a recipe that has no experts of its own."""

PARTS = ("network", "images", "labels", "batches")
"""Choices that have values of their own, read before the values are."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to distil, complete: what is learned, what is matched, for how long.

    Args:
        paper: title and arXiv number.
        source: where the values came from, and what departs from the paper.
        images_per_class: the budget: the images of a class cost as many bytes as so many real ones.
        steps: losses in all (an episode may yield several).
        method: a method class or a partial of one that fixes values; it is called with those of `real`,
            `queries` (the sampler itself), `new_network`, `augment` and `experts` that it takes.
        network: the architecture that is matched on.
        augment: how real and synthetic images are changed alike before they are compared, operations of DSA.
        images: what they are made of.
        labels: what they are, and whether they are learned.
        initialise: the real images or noise that its images start at.
        batches: how a method that draws real images class by class does; what it draws over all classes stays random.
        step_size: where the set's step size starts.
        step_sizes: whether training steps share one step size or have one each.
        learn_step_size: whether the step size is learned with the images.
        optimizer: of what is learned.
        momentum: of the optimizer of what is learned; Adam's is beta 1.
        image_learning_rate: the optimizer's for images, where it starts.
        label_learning_rate: the optimizer's for labels, where it starts.
        step_learning_rate: the optimizer's for the step size, where it starts.
        decay: how those rates go down over the steps.
        average: what is released is the exponential moving average, of this decay, of what is learned; 0 is the last step.
        experts: how networks are trained on the real data, for a method that takes such `experts`, and for labels and
            images that start at what they say.

    Raises `ValueError` for values out of range, and where nothing is learned.
    """

    name: str
    paper: str
    source: str
    method: Callable[..., Method]
    images_per_class: int
    steps: int
    network: Architecture = ConvNet
    augment: Dsa = no_augment
    images: StartImages = Pixels.starting_at
    labels: StartLabels = hard
    initialise: Initialise = real_images
    batches: NewBatches = uniform
    image_learning_rate: float = 1.0
    label_learning_rate: float = 0.1
    step_size: float = 0.01
    step_sizes: CountStepSizes = shared
    learn_step_size: bool = False
    step_learning_rate: float = 1e-5
    momentum: float = 0.5
    optimizer: NewOptimizer = sgd
    decay: Decay = constant
    average: float = 0.0
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
        check_decay(self.average)
        self._refuse_idle_labels()
        self._refuse_unused_step_sizes()
        self._refuse_unused_batches()

    def values(self) -> dict[str, Any]:
        """Every value that `with_values` may change, by name: the recipe's own, its method's, network's and experts'."""
        return {name: written(name, value) for name, value in self._named().items()}

    def _named(self) -> dict[str, Any]:
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for outside in ("name", "paper", "source", "method", "experts"):
            del own[outside]
        own["augment"] = ",".join(self.augment.operations)
        training = self.experts.values() if self.experts else {}
        parts = [keywords(getattr(self, part)) for part in ("method", *PARTS)]
        named = [*own.items(), *(item for part in parts for item in part.items()), *training.items()]
        return dict(sorted(named))

    def with_values(self, changes: Mapping[str, object]) -> Self:
        """This recipe with some values changed; text is read as the type the value has, `"60"` as a number.

        A value without effect warns: a rate of what is not learned, a step size that the method does not train by. Raises
        `ValueError` for a name that does not exist (listing those that do) or a value of another type.
        """
        for part in PARTS:
            if part in changes:
                rest = {name: value for name, value in changes.items() if name != part}
                changed = dataclasses.replace(self, **{part: read(part, changes[part], None)})
                return changed._with_teacher().with_values(rest)
        known = self._named()
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ValueError(f"recipe {self.name} has no value {', '.join(unknown)}; it has {', '.join(known)}")
        own: dict[str, Any] = {}
        training: dict[str, Any] = {}
        for name, value in ((name, read(name, value, known[name])) for name, value in changes.items()):
            holders = [part for part in ("method", *PARTS) if name in keywords(getattr(self, part))]
            if name == "augment":
                own["augment"] = Dsa(operations=tuple(part for part in value.split(",") if part))
            elif holders:
                own[holders[0]] = with_keyword(own.get(holders[0], getattr(self, holders[0])), name, value)
            elif self.experts and name in self.experts.values():
                training[name] = value
            else:
                own[name] = value
        if training and self.experts:
            own["experts"] = dataclasses.replace(self.experts, **training)
        changed = dataclasses.replace(self, **own)._with_teacher()
        changed._warn_of_idle_values(self)
        return changed

    def _with_teacher(self) -> Self:
        """This recipe with a teacher where labels or the first images ask one, and without that one where nothing does."""
        asks = _mode_of(self.labels).taught or self.initialise is recognised_images
        if asks and self.experts is None:
            return dataclasses.replace(self, experts=_TEACHER)
        return dataclasses.replace(self, experts=None) if not asks and self.experts is _TEACHER else self

    @property
    def learned(self) -> tuple[str, ...]:
        """What the set of this recipe learns, of `images`, `labels` and `step size`."""
        images = ("images",) if declared(self.method, "learns_images", True) else ()
        labels = ("labels",) if _mode_of(self.labels).learned else ()
        return *images, *labels, *(("step size",) if self.learn_step_size else ())

    @property
    def labels_look_at_data(self) -> bool:
        """Whether labels start at more than class numbers; of a start that is not known, True."""
        return _mode_of(self.labels).looks_at_data

    @property
    def uses_step_size(self) -> bool:
        """Whether the method trains by the step size of the set; of one that does not say, True."""
        return declared(self.method, "uses_step_size", True) is not False

    def _refuse_idle_labels(self) -> None:
        if not self.learned:
            raise ValueError(
                f"recipe {self.name} leaves the images as they start, so its labels must be learned, as soft are"
            )
        if _mode_of(self.labels).learned and not declared(self.method, "learns_labels", True):
            raise ValueError(
                f"recipe {self.name} gives no gradient to labels, since it compares images alone: choose labels that are "
                f"not learned: {', '.join(name for name, mode in LABEL_MODES.items() if not mode.learned)}"
            )

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

    def _refuse_unused_batches(self) -> None:
        if wrapped(self.batches) is not uniform and not declared(self.method, "draws_by_class", True):
            raise ValueError(
                f"recipe {self.name} draws no real images class by class for its loss, so only batches=uniform makes sense"
            )

    def _warn_of_idle_values(self, before: Self) -> None:
        rates = (
            ("image_learning_rate", "images"),
            ("label_learning_rate", "labels"),
            ("step_learning_rate", "step size"),
        )
        for name, what in rates:
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
            "functions": {**functions(self.method), **functions(self.network)},
        }


def _mode_of(labels: StartLabels) -> LabelMode:
    """The mode that a start of labels belongs to; of a user's own, one that learns them."""
    return next(
        (mode for mode in LABEL_MODES.values() if mode.start is wrapped(labels)), LabelMode(labels, learned=True)
    )
