"""AdaBelief, the optimizer of RFAD and RCIG: Adam, scaled by how far gradients are from their mean, not from 0."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor


class AdaBelief(torch.optim.Optimizer):
    """AdaBelief (arXiv 2010.07468, Algorithm 2), without weight decay or rectification.

    `m = b1 m + (1 - b1) g`, `s = b2 s + (1 - b2) (g - m)^2 + eps`; each step is `rate * m' / (sqrt(s') + eps)`, both
    divided by 1 minus their beta to the power of the steps. The default `eps` is that of both released codes.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; `closure` is called first where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)
        return loss

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state.update(steps=0, mean=torch.zeros_like(parameter), deviation=torch.zeros_like(parameter))
        state["steps"] += 1
        mean: Tensor = state["mean"].lerp_(gradient, 1 - first)
        distance = gradient - mean
        deviation: Tensor = state["deviation"].mul_(second).addcmul_(distance, distance, value=1 - second)
        deviation.add_(group["eps"])
        scale = (deviation / (1 - second ** state["steps"])).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean, scale, value=-group["lr"] / (1 - first ** state["steps"]))
