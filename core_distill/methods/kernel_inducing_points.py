"""KIP: what is learned is whatever predicts real labels best by kernel regression, as an infinitely wide network would."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching.kernels import centred_labels, ridge_regression
from core_distill.matching.network_kernels import InfiniteWidthKernel
from core_distill.synthetic import SyntheticSet
from core_distill.types import NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class KernelInducingPoints:
    """KIP (arXiv 2011.00050, Algorithm 1; arXiv 2107.13034 for convolutions): no network is ever run.

    Args:
        new_network: whose layers the kernel is of, see `InfiniteWidthKernel`; its widths and parameters do not matter.
        batch_size: real images a class and step, the targets of the regression.
        regularisation: of the kernel among the synthetic images, relative to the mean of its diagonal.
        weight_std, bias_std: of the network's parameters, weights times the root of the fan-in.
        tangent: the kernel that training every layer follows (NTK); else that of the last layer alone (NNGP).
        view: pixels a side whose mean the kernel sees as one; 1 is all of them. Kernels of networks that pool take the
            fourth power of it less time.

    Raises `ValueError` for a network without a closed form, images that `view` does not fit, and a kernel that is not
    positive definite (on a card the set becomes NaN).
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 500
    regularisation: float = 1e-6
    weight_std: float = math.sqrt(2)
    bias_std: float = 0.01
    tangent: bool = True
    view: int = 1

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One batch of targets, one loss."""
        network = self.new_network(generator)  # its layers alone
        kernel = InfiniteWidthKernel(network, self.weight_std, self.bias_std, self.tangent)
        real = self.real.by_class(self.batch_size, generator)
        seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
        targets, supports = (self._seen(batch.images.flatten(0, 1)) for batch in (seen_real, seen))
        predictions = ridge_regression(
            kernel(targets, supports),
            kernel(supports, supports),
            self._centred(seen.labels.flatten(0, 1)),
            regularisation=self.regularisation,
        )
        yield 0.5 * (predictions - self._centred(seen_real.labels.flatten(0, 1))).square().mean()

    def _centred(self, labels: Tensor) -> Tensor:
        return centred_labels(labels, self.real.num_classes)

    def _seen(self, images: Tensor) -> Tensor:
        if self.view == 1:
            return images
        if self.view < 1 or images.dim() != 4 or any(side % self.view for side in images.shape[2:]):
            raise ValueError(
                f"view must divide the sides of (channels, height, width) images, here {tuple(images.shape[1:])}, "
                f"got {self.view}; 1 sees every pixel"
            )
        return F.avg_pool2d(images, self.view)
