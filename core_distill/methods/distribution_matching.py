"""DM: match the mean features of real and synthetic images under networks that are never trained."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching import mean_embedding, mean_feature_distance
from core_distill.synthetic import SyntheticSet
from core_distill.types import NetworkFactory, RealData, SiameseAugment, Signal


@dataclass(frozen=True, kw_only=True)
class DistributionMatching:
    """DM (arXiv 2110.04181, Algorithm 1): a fresh random network for every loss.

    Args:
        batch_size: real images a class and step.
    """

    private: ClassVar[bool] = True
    class_wise: ClassVar[bool] = True
    uses_step_size: ClassVar[bool] = False
    learns_labels: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    signal: Signal = mean_embedding
    batch_size: int = 256

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network, one loss."""
        network = self.new_network(generator)
        real = self.real.by_class(self.batch_size, generator)
        seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
        yield mean_feature_distance(network, seen_real, seen, signal=self.signal)
