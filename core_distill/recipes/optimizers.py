"""How what is learned is updated: the optimizers and the decays of their learning rates, by the names recipes write."""

import math
from collections.abc import Callable
from typing import Any

import torch

ParameterGroups = list[dict[str, Any]]
"""What PyTorch's optimizers take: dictionaries with `params` and `lr`."""

NewOptimizer = Callable[[ParameterGroups, float], torch.optim.Optimizer]
"""`optimizer(groups, momentum)`."""

Decay = Callable[[float], float]
"""`decay(done) -> factor` of every learning rate; `done` goes from 0, at the first step, towards 1."""


def sgd(groups: ParameterGroups, momentum: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent with heavy-ball momentum."""
    return torch.optim.SGD(groups, momentum=momentum)


def adam(groups: ParameterGroups, momentum: float) -> torch.optim.Optimizer:
    """Adam (arXiv 1412.6980); `momentum` is beta 1, below 1, and beta 2 is 0.999. Raises `ValueError` for 1 or more."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is Adam's beta 1 and must lie in [0, 1), got {momentum}")
    return torch.optim.Adam(groups, betas=(momentum, 0.999))


def constant(done: float) -> float:
    """No decay."""
    return 1.0


def cosine(done: float) -> float:
    """Half a cosine from 1 down to 0.1 (SGDR, arXiv 1608.03983; ends at a tenth as in FRePo's released code)."""
    return 0.55 + 0.45 * math.cos(math.pi * done)


OPTIMIZERS: dict[str, NewOptimizer] = {"adam": adam, "sgd": sgd}
"""The optimizers by name."""

DECAYS: dict[str, Decay] = {"constant": constant, "cosine": cosine}
"""The decays by name."""
