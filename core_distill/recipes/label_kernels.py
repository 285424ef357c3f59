"""The kernels by which labels are solved for: of networks that are there, or of one that is infinitely wide."""

from collections.abc import Callable

import torch
from torch import Tensor

from core_distill.engine import features
from core_distill.matching.kernels import Kernel
from core_distill.matching.network_kernels import InfiniteWidthKernel
from core_distill.synthetic.start import Start

LabelKernel = Callable[[Start, int], Kernel]
"""`label_kernel(start, networks)`: a kernel of the start's architecture; `networks` of it where they have to be there."""


def feature_kernel(start: Start, networks: int) -> Kernel:
    """The mean kernel of the features of so many fresh networks, in float64 as of `ridge_predictions`."""
    fresh = [start.new_network(start.generator) for _ in range(networks)]

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        wide = [(features(each, left).to(torch.float64), features(each, right).to(torch.float64)) for each in fresh]
        return torch.stack([first @ second.mT for first, second in wide]).mean(0)

    return kernel


def tangent_kernel(start: Start, networks: int) -> Kernel:
    """The tangent kernel of the architecture at infinite width (Label Solve, arXiv 2011.00050), which needs no networks.

    See `InfiniteWidthKernel`, which it also raises `ValueError` as: dense layers, or convolutions without norm.
    """
    return InfiniteWidthKernel(start.new_network(start.generator))


LABEL_KERNELS: dict[str, LabelKernel] = {"features": feature_kernel, "tangent": tangent_kernel}
"""The kernels by name."""
