"""RFAD: kernel regression as an infinitely wide network would do it, with that kernel sampled by random networks."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.engine import features
from core_distill.matching.batching import refuse_batch_statistics
from core_distill.matching.kernels import centred_labels, ridge_regression
from core_distill.methods.numbers import check_from_one, check_from_zero
from core_distill.methods.temperature import LearnedTemperature
from core_distill.networks.gaussian import draw_gaussian
from core_distill.synthetic import SyntheticSet
from core_distill.types import NetworkFactory, RealData, SiameseAugment

_GAIN, _OFFSET = 2.0, 0.01
"""Of the kernel: what the last layer of an infinite network, weights of variance 2 and biases of 0.01, makes of features."""


@dataclass(frozen=True, kw_only=True)
class RandomFeatureRegression:
    """RFAD (arXiv 2210.12067, Algorithm 1): the NNGP kernel by the features of fresh random networks in every step.

    The temperature lives in the method and goes on from one `distill` to the next: a run of its own needs a method of its
    own.

    Args:
        new_network: their architecture, without norm in the paper; parameters are drawn anew, normal.
        batch_size: real images of all classes a step.
        num_networks: fresh ones in a step; the kernel is the mean of theirs.
        regularisation: of the kernel, relative to the mean of its diagonal.
        platt: cross-entropy of the predictions times a learned factor; else half the mean squared error to centred labels.
        temperature_rate: of Adam on the logarithm of the factor of `platt`, which starts at 0.

    Raises `ValueError` for values out of range, networks with batch statistics, and a kernel that is not positive
    definite (on a card the set becomes NaN).
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 5120
    num_networks: int = 8
    regularisation: float = 5e-3
    platt: bool = True
    temperature_rate: float = 0.01
    _temperature: LearnedTemperature = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_one(self, "num_networks")
        check_from_zero(self, "temperature_rate")
        object.__setattr__(self, "_temperature", LearnedTemperature(self.temperature_rate))

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One batch, one set of networks, one loss."""
        real = self.real.batch(self.batch_size, generator)
        seen_real, seen = self.augment(real, synthetic.batch(generator=generator), generator)
        cross, support = self._kernels(seen_real.images, seen.images, generator)
        supports = centred_labels(seen.labels, self.real.num_classes)
        predictions = ridge_regression(cross, support, supports, regularisation=self.regularisation)
        if not self.platt:
            yield 0.5 * (predictions - centred_labels(seen_real.labels, self.real.num_classes)).square().mean()
            return
        temperature = self._temperature.on(predictions.device)
        apart = F.cross_entropy(temperature.exp() * predictions.detach(), seen_real.labels)
        gradient = torch.autograd.grad(apart, temperature)[0]
        yield F.cross_entropy(temperature.detach().exp() * predictions, seen_real.labels)
        self._temperature.step(gradient)

    def state_dict(self) -> dict[str, Any]:
        """The temperature, which outlives the episodes."""
        return self._temperature.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved temperature."""
        self._temperature.load_state_dict(state_dict)

    def _kernels(self, targets: Tensor, supports: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """`K_ts` and `K_ss`, float64: means over networks of their features' mean products."""
        cross = targets.new_zeros(len(targets), len(supports), dtype=torch.float64)
        support = supports.new_zeros(len(supports), len(supports), dtype=torch.float64)
        for _ in range(self.num_networks):
            network = self._network(generator)
            with torch.no_grad():
                own = features(network, targets).to(torch.float64)
            theirs = features(network, supports).to(torch.float64)
            share = _GAIN / (self.num_networks * own.shape[1])
            cross, support = cross + share * own @ theirs.mT, support + share * theirs @ theirs.mT
        return cross + _OFFSET, support + _OFFSET

    def _network(self, generator: Generator) -> nn.Module:
        network = self.new_network(generator)
        refuse_batch_statistics(network)
        draw_gaussian(network, generator)
        return network
