"""DC and DSA: match the gradients of real and synthetic images along the training of a network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching import gradient_distance, mean_gradient
from core_distill.methods.numbers import check_from_zero
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.types import NetworkFactory, RealData, SiameseAugment, Signal


@dataclass(frozen=True, kw_only=True)
class GradientMatching:
    """DC (arXiv 2006.05929, Algorithm 1); DSA (arXiv 2102.08259) when `augment` is siamese.

    Args:
        batch_size: real images a class and step.
        outer_steps: losses an episode, each on the network as trained so far.
        inner_epochs: epochs the network trains on the synthetic set between two losses.
        learning_rate: of plain SGD, by which the network trains on the synthetic set.
    """

    private: ClassVar[bool] = True
    class_wise: ClassVar[bool] = True
    uses_step_size: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    signal: Signal = mean_gradient
    batch_size: int = 256
    outer_steps: int = 10
    inner_epochs: int = 50
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        check_from_zero(self, "inner_epochs", "learning_rate")

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network's life: `outer_steps` losses."""
        network = self.new_network(generator)
        for step in range(self.outer_steps):
            real = self.real.by_class(self.batch_size, generator)
            seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
            yield gradient_distance(network, seen_real, seen, signal=self.signal)
            if step + 1 < self.outer_steps:
                fit(
                    network,
                    synthetic.batch(generator=generator),
                    epochs=self.inner_epochs,
                    learning_rate=self.learning_rate,
                    augment=self.augment.per_image,
                    generator=generator,
                )
