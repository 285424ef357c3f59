"""How what is learned is updated: the optimizers and the decays of their learning rates, by the names recipes write."""

import math
from collections.abc import Callable
from typing import Any

import torch

from core_distill.recipes.adabelief import AdaBelief

ParameterGroups = list[dict[str, Any]]
"""What PyTorch's optimizers take: dictionaries with `params` and `lr`."""

NewOptimizer = Callable[[ParameterGroups, float], torch.optim.Optimizer]
"""`optimizer(groups, momentum)`."""

Decay = Callable[[float], float]
"""`decay(done) -> factor` of every learning rate; `done` goes from 0, at the first step, towards 1."""


_LARGEST_NORM = 2.0


def sgd(groups: ParameterGroups, momentum: float) -> torch.optim.Optimizer:
    """Stochastic gradient descent with heavy-ball momentum."""
    return torch.optim.SGD(groups, momentum=momentum)


def clipped_sgd(groups: ParameterGroups, momentum: float) -> torch.optim.Optimizer:
    """`sgd`, of a gradient of everything learned that is shortened to the norm 2 where it is longer."""
    optimizer = sgd(groups, momentum)

    def clip(optimizer: torch.optim.Optimizer, *_: object) -> None:
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(learned, _LARGEST_NORM)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def adam(groups: ParameterGroups, momentum: float) -> torch.optim.Optimizer:
    """Adam (arXiv 1412.6980); `momentum` is beta 1, below 1, and beta 2 is 0.999. Raises `ValueError` for 1 or more."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is Adam's beta 1 and must lie in [0, 1), got {momentum}")
    return torch.optim.Adam(groups, betas=(momentum, 0.999))


def adabelief(groups: ParameterGroups, momentum: float) -> torch.optim.Optimizer:
    """AdaBelief (arXiv 2010.07468); `momentum` is beta 1, below 1, and beta 2 is 0.999. Raises `ValueError` for 1 or more."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is AdaBelief's beta 1 and must lie in [0, 1), got {momentum}")
    return AdaBelief(groups, betas=(momentum, 0.999))


def constant(done: float) -> float:
    """No decay."""
    return 1.0


def cosine(done: float) -> float:
    """Half a cosine from 1 down to 0.1 (SGDR, arXiv 1608.03983; ends at a tenth as in FRePo's released code)."""
    return 0.55 + 0.45 * math.cos(math.pi * done)


def halvings(done: float) -> float:
    """1, halved after 60, 80 and 90 % of the steps (CAFE's released code: after 1,200, 1,600 and 1,800 of 2,000)."""
    return 0.5 ** sum(done >= milestone for milestone in (0.6, 0.8, 0.9))


OPTIMIZERS: dict[str, NewOptimizer] = {"adabelief": adabelief, "adam": adam, "clipped-sgd": clipped_sgd, "sgd": sgd}
"""The optimizers by name."""

DECAYS: dict[str, Decay] = {"constant": constant, "cosine": cosine, "halvings": halvings}
"""The decays by name."""
