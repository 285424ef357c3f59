"""Keeping the gradient of what is learned near its usual size: gradients through long runs of training have rare huge values."""

from typing import Any, final

import torch
from torch import Tensor

_MEMORY = 0.9


@final
class GradientClip:
    """Passes values on unchanged, and their gradient cut to `limit` times its usual norm (RaT-BPTT's released code).

    Usual is the moving average of the norms so far, nine tenths of it the past; a gradient counts in it before it is cut.
    What it remembers it saves and loads. Raises `ValueError` for a limit of 1 or less.
    """

    def __init__(self, limit: float) -> None:
        if not limit > 1:
            raise ValueError(f"a gradient may be cut to more than 1 time its usual norm, got {limit}")
        self._limit = limit
        self._usual: Tensor | None = None

    def __call__(self, values: Tensor) -> Tensor:
        """`values`, whose gradient goes through this clip."""
        passed: Tensor = _Clipped.apply(self, values)
        return passed

    def cut(self, gradient: Tensor) -> Tensor:
        """`gradient`, shorter where it is too long; its norm is remembered."""
        norm = gradient.norm()
        usual = norm if self._usual is None else torch.lerp(norm, self._usual.to(norm, non_blocking=True), _MEMORY)
        self._usual = usual
        share: Tensor = (self._limit * usual / (norm + 1e-6)).clamp(max=1)
        return gradient * share

    def state_dict(self) -> dict[str, Tensor]:
        """The usual norm, where there is one."""
        return {} if self._usual is None else {"usual": self._usual.clone()}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Go on from `state_dict()`."""
        self._usual = state_dict.get("usual")


class _Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip: GradientClip, values: Tensor) -> Tensor:
        ctx.clip = clip
        return values.view_as(values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[None, Tensor]:
        return None, ctx.clip.cut(cotangents[0])
