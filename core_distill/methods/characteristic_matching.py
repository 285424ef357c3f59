"""NCFM: match characteristic functions of features, under networks between fresh and trained ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from core_distill.augment import Dsa, no_augment
from core_distill.augment.successive import Successive
from core_distill.engine import features, input_loss
from core_distill.matching.characteristic_functions import characteristic_distance
from core_distill.methods.numbers import check_from_one
from core_distill.synthetic import SyntheticSet
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Batch, NetworkFactory, RealData


@dataclass(frozen=True, kw_only=True)
class CharacteristicMatching:
    """NCFM (arXiv 2502.20653), as its released code runs by default: frequencies are drawn, not learned by a second player.

    For every loss the parameters of a random expert before and after its training are mixed in a random ratio; the mixed
    network's features are matched, and the trained one calibrates: it should name the synthetic images rightly. The released
    code updates the images by the two in turn, class by class with frequencies of its own; here one loss is their sum.

    Args:
        new_network: the experts' architecture.
        augment: its operations are all applied, one after the other.
        experts: networks trained on the real data, of which the first and the last parameters are used.
        batch_size: real images a class and step.
        num_frequencies: where characteristic functions are compared, drawn anew for every loss from a standard normal.
        amplitude_weight, phase_weight: of the differences of amplitudes and of phases, see `characteristic_discrepancy`.
        match_weight: of the discrepancy, summed over classes.
        calibration_weight: of the cross-entropy, a mean over the images of a class summed over classes.

    Raises `ValueError` for fewer than one frequency.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    experts: ExpertTrajectories
    augment: Dsa = no_augment
    batch_size: int = 1024
    num_frequencies: int = 4096
    amplitude_weight: float = 0.5
    phase_weight: float = 0.5
    match_weight: float = 300.0
    calibration_weight: float = 1.0

    def __post_init__(self) -> None:
        check_from_one(self, "num_frequencies")

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One expert, one loss."""
        network = self.new_network(generator)
        start, trained = self.experts.draw(generator, 1, self.experts.epochs)
        ratio = torch.rand((), generator=generator, device=generator.device)
        _fill(network, [a + ratio * (b - a) for a, b in zip(trained, start, strict=True)])
        real = self.real.by_class(self.batch_size, generator)
        changes = Successive(self.augment.operations)
        seen_real, seen = changes(real, synthetic.by_class(generator), generator)
        distance = characteristic_distance(
            network,
            seen_real,
            seen,
            self._frequencies(network, seen, generator),
            amplitude_weight=self.amplitude_weight,
            phase_weight=self.phase_weight,
        )
        flat = Batch(seen.images.flatten(0, 1), seen.labels.flatten(0, 1))
        calibration = len(seen.images) * input_loss(network, trained, flat)
        yield self.match_weight * distance + self.calibration_weight * calibration

    def _frequencies(self, network: nn.Module, synthetic: Batch, generator: Generator) -> Tensor:
        """Standard normal, `(num_frequencies, features)`."""
        with torch.no_grad():
            (one,) = features(network, synthetic.images[0, :1])
        return torch.randn(self.num_frequencies, len(one), generator=generator, device=one.device, dtype=one.dtype)


@torch.no_grad()
def _fill(network: nn.Module, values: Sequence[Tensor]) -> None:
    for parameter, value in zip(network.parameters(), values, strict=True):
        parameter.copy_(value)
