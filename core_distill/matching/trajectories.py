"""Trajectory matching: how far training on the synthetic set ends from where an expert got to."""

from collections.abc import Sequence

import torch
from torch import Tensor


def trajectory_distance(end: Sequence[Tensor], start: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
    """`|end - target|^2 / |start - target|^2` over all parameters, a scalar (MTT, arXiv 2203.11932, equation 2).

    Staying at `start` gives 1, reaching `target` 0. `start` and `target` are an expert's and count as constants. An expert
    that did not move between the two would give infinity; `ExpertTrajectories` holds none.
    """
    return _squared_distance(end, target) / _squared_distance(start, target).detach()


def _squared_distance(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a - b.detach()).square().sum() for a, b in zip(left, right, strict=True)]).sum()
