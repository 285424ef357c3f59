"""The scale of predictions before cross-entropy, learned beside the set (Platt scaling), which outlives episodes."""

import copy
from typing import Any, final

import torch
from torch import Tensor


@final
class LearnedTemperature:
    """The logarithm of a factor on logits, a scalar that starts at 0 and follows its gradient by Adam."""

    def __init__(self, learning_rate: float) -> None:
        self._rate = learning_rate
        self._saved: dict[str, Any] = {}
        self._value: Tensor | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    def on(self, device: torch.device) -> Tensor:
        """The logarithm, a leaf whose gradient `step` takes; built on `device` when first asked for."""
        if self._value is None:
            self._value = torch.zeros((), device=device, requires_grad=True)
            self._optimizer = torch.optim.Adam([self._value], lr=self._rate)
            if self._saved:
                with torch.no_grad():
                    self._value.copy_(self._saved["value"])
                self._optimizer.load_state_dict(self._saved["optimizer"])
        return self._value

    def step(self, gradient: Tensor) -> None:
        """One step along a gradient that `on` was asked for before."""
        assert self._value is not None
        assert self._optimizer is not None
        self._value.grad = gradient
        self._optimizer.step()
        self._optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """The logarithm and its optimizer; empty before the first step."""
        if self._value is None or self._optimizer is None:
            return self._saved
        return {"value": self._value.detach().clone(), "optimizer": copy.deepcopy(self._optimizer.state_dict())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()`, on the device that is asked for next."""
        self._saved, self._value, self._optimizer = copy.deepcopy(state_dict), None, None
