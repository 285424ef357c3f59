"""DCC and DSAC: match the gradient of all classes together, which knows how classes differ."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching import gradient_distance, mean_gradient
from core_distill.matching.gradients import Distance, class_sum_distance, layerwise_cosine
from core_distill.methods.count import Count
from core_distill.methods.numbers import check_from_zero
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.types import NetworkFactory, RealData, SiameseAugment, Signal


@dataclass(frozen=True, kw_only=True)
class ClassSummedMatching:
    """DCC (arXiv 2202.02916, Algorithm 1); DSAC when `augment` is siamese.

    Begins class by class, as DC: the early losses of early networks ("bi-level warm-up"). Networks are counted from one
    `distill` to the next: a run of its own needs a method of its own.

    Args:
        batch_size: real images a class and step.
        outer_steps: losses an episode, each on the network as trained so far.
        inner_epochs: epochs the network trains on the synthetic set between two losses.
        learning_rate: of plain SGD, by which the network trains on the synthetic set.
        outer_warmup, inner_warmup: loss `i` of network `o` is class by class while `o < outer_warmup` and `i < inner_warmup`.
    """

    private: ClassVar[bool] = True
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    signal: Signal = mean_gradient
    distance: Distance = layerwise_cosine
    batch_size: int = 256
    outer_steps: int = 10
    inner_epochs: int = 50
    learning_rate: float = 0.01
    outer_warmup: int = 250
    inner_warmup: int = 10
    _networks: Count = field(init=False, repr=False, compare=False, default_factory=Count)

    def __post_init__(self) -> None:
        check_from_zero(self, "inner_epochs", "learning_rate")

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network's life: `outer_steps` losses."""
        warms_up = self._networks.value < self.outer_warmup
        self._networks.value += 1
        network = self.new_network(generator)
        for step in range(self.outer_steps):
            real = self.real.by_class(self.batch_size, generator)
            seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
            loss = gradient_distance if warms_up and step < self.inner_warmup else class_sum_distance
            yield loss(network, seen_real, seen, signal=self.signal, distance=self.distance)
            if step + 1 < self.outer_steps:
                fit(
                    network,
                    synthetic.batch(generator=generator),
                    epochs=self.inner_epochs,
                    learning_rate=self.learning_rate,
                    augment=self.augment.per_image,
                    generator=generator,
                )

    def state_dict(self) -> dict[str, Any]:
        """How many networks there have been."""
        return {"networks": self._networks.value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._networks.value = state_dict["networks"]
