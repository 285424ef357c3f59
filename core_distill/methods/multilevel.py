"""Gradient matching within classes and between them, by angle and length, with fewer epochs the longer a network trains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching import mean_gradient
from core_distill.matching.gradient_distances import angle_and_difference
from core_distill.matching.gradients import Distance, multilevel_distance
from core_distill.methods.numbers import check_from_zero, check_momenta
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.types import NetworkFactory, RealData, SiameseAugment, Signal


@dataclass(frozen=True, kw_only=True)
class MultilevelMatching:
    """Jiang et al. (arXiv 2208.00311): multi-level gradients, the improved distance, adaptive learning steps.

    The network's momentum starts anew after every loss; in the released code it goes on.

    Args:
        batch_size: real images a class and step.
        outer_steps: losses an episode, each on the network as trained so far.
        inner_schedule: epochs the network trains on the synthetic set after the first loss, the second, and so on; the last
            number holds from there. The paper found the numbers where a network begins to over-fit the set.
        learning_rate, network_momentum: of the network's training on the synthetic set.
        between_classes: weight of the part between classes; 1 makes it as heavy as all parts within classes.

    Raises `ValueError` where `inner_schedule` is empty, and for values out of range.
    """

    private: ClassVar[bool] = True
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    signal: Signal = mean_gradient
    distance: Distance = angle_and_difference
    batch_size: int = 256
    outer_steps: int = 10
    inner_schedule: tuple[int, ...] = (50, 40, 30, 20, 10, 10, 10, 10, 10, 10, 5)
    learning_rate: float = 0.01
    network_momentum: float = 0.5
    between_classes: float = 1.0

    def __post_init__(self) -> None:
        if not self.inner_schedule or min(self.inner_schedule) < 0:
            raise ValueError(
                "inner_schedule needs at least one number of epochs, none below 0, such as (50, 40, 30), got "
                f"{self.inner_schedule}"
            )
        check_from_zero(self, "learning_rate", "between_classes")
        check_momenta(self, "network_momentum")

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network's life: `outer_steps` losses."""
        network = self.new_network(generator)
        for step in range(self.outer_steps):
            real = self.real.by_class(self.batch_size, generator)
            seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
            yield multilevel_distance(
                network,
                seen_real,
                seen,
                signal=self.signal,
                distance=self.distance,
                between_classes=self.between_classes,
            )
            if step + 1 < self.outer_steps:
                fit(
                    network,
                    synthetic.batch(generator=generator),
                    epochs=self.inner_schedule[min(step, len(self.inner_schedule) - 1)],
                    learning_rate=self.learning_rate,
                    momentum=self.network_momentum,
                    augment=self.augment.per_image,
                    generator=generator,
                )
