"""A learning rate that follows how short descents go, decided on the device: RCIG's rates for its inner problems."""

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

_PERIOD = 50
"""Descents between two changes, and what follows: the values of RCIG's released code."""
_TOO_OFTEN, _SLOWER = 0.29, 0.9
_SAFE, _FASTER = 0.7, 1.05


@final
class AdaptiveRate:
    """A rate, found by trying and changed by a tenth down or a twentieth up after every 50 descents.

    It falls where 29 % of these ended above where they had begun, and rises where 70 % went down with every step.

    Args:
        first: the lowest rate tried.
        trials: how many are, each twice the one before; the last one whose descent, and all before, only went down is
            where the rate starts. RCIG's code raises it by fifths.

    Raises `ValueError` for a rate of 0 or less, and fewer than one trial.
    """

    def __init__(self, *, first: float, trials: int) -> None:
        if not 0 < first < float("inf") or trials < 1:
            raise ValueError(f"a first rate above 0 and at least 1 trial are needed, got {first} and {trials}")
        self._first, self._trials = first, trials
        self._state: dict[str, Any] = {}

    def on(self, device: torch.device, descent: Callable[[Tensor], Tensor]) -> Tensor:
        """The rate, a scalar; `descent(rate) -> values (steps,)` is called for the trials when first asked for."""
        if not self._state:
            rates = [torch.full((), self._first * 2.0**trial, device=device) for trial in range(self._trials)]
            steady = torch.stack([_is_steady(descent(rate)) for rate in rates]).to(torch.float32)
            best = (steady.cumprod(0).sum() - 1).clamp(min=0)
            nothing = torch.zeros((), device=device)
            self._state = {"rate": rates[0] * 2.0**best, "worse": nothing, "steady": nothing.clone(), "seen": 0}
        elif self._state["rate"].device != device:
            self._state = {
                name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
                for name, value in self._state.items()
            }
        rate: Tensor = self._state["rate"]
        return rate

    def hear(self, values: Tensor) -> None:
        """Take note of a descent's values `(steps,)`."""
        state = self._state
        worse = state["worse"] + ~(values[-1] <= values[0])
        steady = state["steady"] + _is_steady(values)
        rate, seen = state["rate"], state["seen"] + 1
        if seen == _PERIOD:
            rate = rate * torch.where(
                worse >= _TOO_OFTEN * seen, _SLOWER, torch.where(steady >= _SAFE * seen, _FASTER, 1.0)
            )
            worse, steady, seen = torch.zeros_like(worse), torch.zeros_like(steady), 0
        self._state = {"rate": rate, "worse": worse, "steady": steady, "seen": seen}

    def state_dict(self) -> dict[str, Any]:
        """The rate and what was noted since it last changed; empty before the first descent."""
        return dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._state = dict(state_dict)


def _is_steady(values: Tensor) -> Tensor:
    """Whether each value is below the one before."""
    return (values.diff() < 0).all()
