"""DATM: experts' early epochs teach small sets and late ones large sets, so the stretches to match fit the set's size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from core_distill.matching.attached import attach_gradient
from core_distill.methods.count import Count
from core_distill.methods.trajectory_matching import TrajectoryMatching
from core_distill.synthetic import SyntheticSet


@dataclass(frozen=True, kw_only=True)
class DifficultyAlignment:
    """DATM (arXiv 2310.05773, section 4): trajectory matching over a range of start epochs that grows while it distils.

    The rest of the method is how the set starts: at images that the experts recognise, with labels learned from what they
    say. A loss above `loss_limit` has no say, which the released code does and the paper does not mention. There the update
    is left out, which makes the host wait; here its gradient is 0, so that momentum of earlier updates goes on. One that is
    not finite passes, and the run ends with `DivergedError`.

    The number of losses so far lives in the method, which a run of its own needs; it is saved with the run.

    Args:
        inner: what a loss is; its `max_start` is where the range ends at last.
        min_start: a stretch starts after this epoch or later.
        first_max_start: where the range ends at first; as `max_start`, the epoch itself is not in it.
        growth_steps: losses until the range has grown to `max_start`, evenly; 0 has it so from the beginning.
        loss_limit: see above; 1 is what a network that stays at the start of the stretch loses.

    Raises `ValueError` for an empty range, one that shrinks, and a limit that no loss could keep.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = True

    inner: TrajectoryMatching
    min_start: int = 0
    first_max_start: int = 10
    growth_steps: int = 1000
    loss_limit: float = 1.0
    _losses: Count = field(init=False, repr=False, compare=False, default_factory=Count)

    def __post_init__(self) -> None:
        if self.growth_steps < 0 or not self.loss_limit > 0:
            raise ValueError(
                f"growth_steps must be at least 0 and loss_limit above 0, got {self.growth_steps} and {self.loss_limit}"
            )
        if self.growth_steps and not self.min_start < self.first_max_start <= self.inner.max_start:
            raise ValueError(
                f"first_max_start must lie above min_start, {self.min_start}, and be max_start, {self.inner.max_start}, at "
                f"most, got {self.first_max_start}; growth_steps=0 does without it"
            )
        self.inner.experts.check_span(self.inner.max_start, self.inner.expert_epochs, min_start=self.min_start)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One stretch of one expert, one loss."""
        loss = self.inner.stretch_loss(
            synthetic, generator, min_start=self.min_start, max_start=self.max_start_after(self._losses.value)
        )
        self._losses.value += 1
        learned = [parameter for parameter in synthetic.parameters() if parameter.requires_grad]
        yield without_gradient_above(self.loss_limit, loss, learned)

    def max_start_after(self, losses: int) -> int:
        """Where the range of start epochs ends after so many losses."""
        if losses >= self.growth_steps:
            return self.inner.max_start
        return self.first_max_start + (self.inner.max_start - self.first_max_start) * losses // self.growth_steps

    def state_dict(self) -> dict[str, Any]:
        """How far the range has grown."""
        return {"losses": self._losses.value}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._losses.value = state_dict["losses"]


def without_gradient_above(limit: float, loss: Tensor, learned: Sequence[Tensor]) -> Tensor:
    """`loss`, a scalar, whose gradient with respect to `learned` is 0 where it is finite and lies above `limit`.

    Differentiable once, with respect to `learned` alone; decided on the loss's device.
    """
    gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    felt = [(value, gradient) for value, gradient in zip(learned, gradients, strict=True) if gradient is not None]
    dropped = torch.isfinite(loss.detach()) & (loss.detach() > limit)
    kept = [torch.where(dropped, 0, gradient) for _, gradient in felt]
    return attach_gradient(loss.detach(), [value for value, _ in felt], kept)
