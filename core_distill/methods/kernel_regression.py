"""FRePo: kernel regression from the synthetic to the real images, on the features of a pool of networks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Generator, Tensor, nn, no_grad

from core_distill.augment import no_augment
from core_distill.engine import features
from core_distill.matching.batching import refuse_batch_statistics
from core_distill.matching.kernels import centred_labels, kernel_regression_loss, label_margin
from core_distill.methods.numbers import check_from_zero
from core_distill.synthetic import SyntheticSet
from core_distill.training.pool import NetworkPool, PooledNetwork
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment

_TRAINING_SIZE = 1000
"""Synthetic images that a network of the pool trains on at most, as in the released code."""


@dataclass(frozen=True, kw_only=True)
class KernelRegression:
    """FRePo (arXiv 2206.00719, Algorithm 1): one network of the pool for every loss, which then trains one step.

    The paper learns unrestricted regression targets. Here a synthetic image's target is its label, a class or learned
    probabilities, minus 1 / c, times `label_scale`: so the released set trains with cross-entropy too.

    The pool lives in the method and goes on from one `distill` to the next: a run of its own needs a method of its own.

    Args:
        batch_size: real images of all classes a step.
        pool_size: networks that train side by side, of which each loss draws one; see `NetworkPool`.
        max_age: steps after which one of them is replaced.
        network_rate: of Adam, by which they train.
        regularisation: of the kernel, relative to the mean of its diagonal.
        label_scale: of the synthetic targets; the paper starts them at sqrt(10 / c).

    Raises `ValueError` for values out of range, networks with batch statistics, a kernel that is not positive
    definite (on a card some steps later, when the set is NaN), and a pool whose networks keep diverging.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 1024
    pool_size: int = 10
    max_age: int = 100
    network_rate: float = 3e-4
    regularisation: float = 1e-6
    label_scale: float = 1.0
    _pool: NetworkPool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_zero(self, "network_rate")
        if not 0 < self.label_scale < float("inf"):
            raise ValueError(f"label_scale must be above 0, got {self.label_scale}")
        pool = NetworkPool(self._start, size=self.pool_size, max_age=self.max_age, learning_rate=self.network_rate)
        object.__setattr__(self, "_pool", pool)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network of the pool, one loss."""
        pooled = self._draw(synthetic, generator)
        real = self.real.batch(self.batch_size, generator)
        seen_real, seen = self.augment(real, synthetic.batch(generator=generator), generator)
        with no_grad():
            target_features = features(pooled.network, seen_real.images)
        support_targets = self._targets(seen.labels)
        loss = kernel_regression_loss(
            target_features,
            centred_labels(seen_real.labels, self.real.num_classes),
            features(pooled.network, seen.images),
            support_targets,
            regularisation=self.regularisation,
        )
        yield loss - label_margin(support_targets)
        images, labels, _ = synthetic.batch(max(1, _TRAINING_SIZE // synthetic.views), generator)
        pooled.step(Batch(images, self._targets(labels)))

    def state_dict(self) -> dict[str, Any]:
        """The pool, which outlives the episodes."""
        return self._pool.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved pool."""
        self._pool.load_state_dict(state_dict)

    def _draw(self, synthetic: SyntheticSet, generator: Generator) -> PooledNetwork:
        """A network of the pool; where one had diverged, the set is looked at, which on a card nothing else in a step does.

        A kernel without a solution raises at once on a CPU. On a card it makes the set NaN, and the networks it trains.
        """
        before = self._pool.diverged
        pooled = self._pool.draw(generator)
        if self._pool.diverged > before and not all(value.isfinite().all() for value in synthetic.parameters()):
            raise ValueError(
                "the synthetic set is not finite, nor are the networks that it trained: lower the learning rate, or raise "
                f"regularisation, {self.regularisation:g}, where the kernel among the images may have had no solution"
            )
        return pooled

    def _targets(self, labels: Tensor) -> Tensor:
        return self.label_scale * centred_labels(labels, self.real.num_classes)

    def _start(self, generator: Generator) -> nn.Module:
        network = self.new_network(generator)
        refuse_batch_statistics(network)
        return network
