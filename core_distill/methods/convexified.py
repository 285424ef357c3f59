"""RCIG: implicit gradients of the one training problem whose end is known, that of a linearised network."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.matching.attached import attach_gradient
from core_distill.matching.batching import refuse_batch_statistics
from core_distill.matching.convexified import (
    ConvexProblem,
    OuterLoss,
    at_most,
    implicit_gradient,
    outer_loss,
)
from core_distill.matching.kernels import centred_labels
from core_distill.methods.numbers import check_from_one, check_from_zero
from core_distill.methods.temperature import LearnedTemperature
from core_distill.networks.gaussian import draw_gaussian
from core_distill.randomness import host_integers
from core_distill.synthetic import SyntheticSet
from core_distill.training.pool import NetworkPool
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class ConvexifiedGradients:
    """RCIG (arXiv 2302.06755, Algorithm 1): a network of the pool, linearised, trained on the set and differentiated there.

    A loss has the direct gradient, at a fixed body of the network, plus the implicit one, through where the body ends, at
    most as long as the direct one. Images and labels get both. A synthetic image's target is its label minus 1 / c.

    Networks start at weights of variance 1 / fan-in without biases, whatever `new_network` drew, as the released code's do:
    the ridge is not relative to the kernel, whose size they decide.

    Both of its quadratic problems are solved by conjugate gradients, for the released code's Adam at rates that adapt: after
    5 steps of Adam on 100 images of Fashion-MNIST the implicit gradient had 2 % of its length.

    Pool and temperature live in the method and go on from one `distill` to the next: a run of its own needs a method
    of its own.

    Args:
        batch_size: real images of all classes a step.
        inner_steps: of conjugate gradients on the convex problem of `ConvexProblem`.
        inverse_steps: of conjugate gradients that find the product with the inverse Hessian of that problem.
        regularisation: of the convex problem, for each synthetic image.
        pool_size: networks that train side by side, of which each loss draws one; see `NetworkPool`.
        max_age: steps after which one of them is replaced.
        network_rate: of Adam, by which they train.
        pool_steps: a network trains 1 up to this many steps after its loss.
        temperature_rate: of Adam on the logarithm of the factor on predictions, which is learned.

    Raises `ValueError` for values out of range, networks with batch statistics, a kernel that is not positive definite (on
    a card the set becomes NaN), and a pool whose networks keep diverging.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 1024
    inner_steps: int = 20
    inverse_steps: int = 20
    regularisation: float = 5e-4
    pool_size: int = 30
    max_age: int = 100
    network_rate: float = 5e-5
    pool_steps: int = 15
    temperature_rate: float = 0.03
    _pool: NetworkPool = field(init=False, repr=False, compare=False)
    _temperature: LearnedTemperature = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_one(self, "inner_steps", "inverse_steps", "pool_steps")
        check_from_zero(self, "network_rate", "temperature_rate")
        pool = NetworkPool(self._start, size=self.pool_size, max_age=self.max_age, learning_rate=self.network_rate)
        object.__setattr__(self, "_pool", pool)
        object.__setattr__(self, "_temperature", LearnedTemperature(self.temperature_rate))

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network of the pool, one loss."""
        pooled = self._pool.draw(generator)
        real = self.real.batch(self.batch_size, generator)
        seen_real, seen = self.augment(real, synthetic.batch(generator=generator), generator)
        targets = self._targets(seen.labels)
        problem = ConvexProblem(pooled.network, seen.images, targets, regularisation=self.regularisation)
        tangent = problem.solved(problem.pull(), steps=self.inner_steps)
        outer = outer_loss(problem, tangent, seen_real, self._temperature.on(seen.images.device))
        vector = problem.solved(outer.to_body, steps=self.inverse_steps)
        implicit = implicit_gradient(problem, tangent, vector)
        yield _with_both(outer, implicit, seen.images, targets)
        self._temperature.step(outer.to_temperature)
        images, labels = synthetic.batch(generator=generator)[:2]
        for _ in range(1 + int(host_integers(self.pool_steps, 1, generator, "pool steps"))):
            pooled.step(Batch(images, self._targets(labels)))

    def state_dict(self) -> dict[str, Any]:
        """Pool and temperature, which outlive the episodes."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with what was saved."""
        for name, part in self._parts().items():
            part.load_state_dict(state_dict[name])

    def _targets(self, labels: Tensor) -> Tensor:
        return centred_labels(labels, self.real.num_classes)

    def _parts(self) -> dict[str, Any]:
        return {"pool": self._pool, "temperature": self._temperature}

    def _start(self, generator: Generator) -> nn.Module:
        network = self.new_network(generator)
        refuse_batch_statistics(network)
        draw_gaussian(network, generator, weight_std=1.0, bias_std=0.0)
        return network


def _with_both(outer: OuterLoss, implicit: tuple[Tensor, Tensor], images: Tensor, targets: Tensor) -> Tensor:
    """The loss with its direct gradient and the implicit one, which is shortened to the length of the direct one."""
    direct = (outer.to_images, outer.to_targets)
    both = [a + at_most(b, a) for a, b in zip(direct, implicit, strict=True)]
    return attach_gradient(outer.value, (images, targets), both)
