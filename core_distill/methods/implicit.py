"""Implicit differentiation: what is learned is whatever a network trained on it to a minimum does well on real images with."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.engine import mean_loss, parameters_of
from core_distill.matching.implicit import InverseProduct, at_minimum, neumann
from core_distill.methods.numbers import check_from_one, check_from_zero, check_momenta
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.training.restored import restored
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class ImplicitDifferentiation:
    """Lorraine et al. (arXiv 1911.02590, Algorithms 1 to 3), with every pixel (and label) a hyperparameter.

    How a network comes to its minimum matters (Vicol et al., arXiv 2212.14032): one that goes on while the set changes
    (warm start) gathers what all the sets before told it, so a few images need not say everything at once, and a network
    that is trained from scratch on what is left at the end learns little. A fresh network each time (cold start) is what
    an evaluation does.

    The network that goes on lives in the method: a run of its own needs a method of its own.

    Args:
        inverse: how the Hessian is inverted, `neumann` or `conjugate_gradient`; the Neumann series takes the `learning_rate`
            for its own.
        terms: of the Neumann series, or steps of conjugate gradients.
        batch_size: real images of all classes that a minimum is judged on.
        inner_steps: of gradient descent on the whole set, before every loss. The set's step size has no part in it, nor could
            it get a gradient.
        learning_rate, inner_momentum, weight_decay: of the descent to the minimum.
        lifetime: losses that a network serves before a fresh one takes its place; 1 is cold start, 0, for ever, warm start.

    Raises `ValueError` for values out of range; `episode` also for networks with batch statistics.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    inverse: InverseProduct = neumann
    terms: int = 10
    batch_size: int = 256
    inner_steps: int = 10
    learning_rate: float = 0.02
    inner_momentum: float = 0.5
    weight_decay: float = 0.0
    lifetime: int = 1
    _kept: "_Kept" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_one(self, "inner_steps", "terms")
        check_from_zero(self, "learning_rate")
        check_momenta(self, "inner_momentum")
        object.__setattr__(self, "_kept", _Kept())

    @property
    def network(self) -> nn.Module | None:
        """The network as it is now; `None` before the first loss."""
        return self._kept.network

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One minimum, one loss."""
        network = self._kept.serve(self.new_network, generator, lifetime=self.lifetime)
        own = synthetic.batch(generator=generator)
        fit(
            network,
            own,
            epochs=self.inner_steps,
            learning_rate=self.learning_rate,
            momentum=self.inner_momentum,
            weight_decay=self.weight_decay,
            batch_size=len(own.images),
            generator=generator,
        )
        trained = at_minimum(
            network,
            parameters_of(network),
            own,
            inverse=self.inverse,
            terms=self.terms,
            rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        real = self.real.batch(self.batch_size, generator)
        yield mean_loss(network, trained, Batch(self.augment.per_image(real.images, generator), real.labels))

    def state_dict(self) -> dict[str, Any]:
        """The network that goes on, and its age."""
        return self._kept.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved network."""
        self._kept.load_state_dict(state_dict)


@final
class _Kept:
    """A network that outlives episodes, and how many losses it has served."""

    def __init__(self) -> None:
        self.network: nn.Module | None = None
        self._age = 0
        self._saved: dict[str, Tensor] | None = None

    def serve(self, new_network: NetworkFactory, generator: Generator, *, lifetime: int) -> nn.Module:
        """The network of the next loss: a fresh one where there is none or `lifetime` losses were served."""
        if self._saved is not None:
            self.network, self._saved = restored(new_network, self._saved, generator.device), None
        if self.network is None or (lifetime and self._age >= lifetime):
            self.network, self._age = new_network(generator), 0
        self._age += 1
        return self.network

    def state_dict(self) -> dict[str, Any]:
        network = self._saved if self.network is None else self.network.state_dict()
        return {"network": copy.deepcopy(network), "age": self._age}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.network, self._saved, self._age = None, state_dict["network"], state_dict["age"]
