"""Windows of training by Adam that can be differentiated: RaT-BPTT's inner loop (arXiv 2311.07025), walked backwards.

As in `unrolling`, a run is computed without a graph and undone step by step, each step anew, so that memory holds a few copies
of the parameters a step and the graph of one. The steps before a window are `train_by_adam`, of which nothing is kept.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core_distill.engine import ExampleLoss, Session, cross_entropy, current, loss_gradient, running_on
from core_distill.matching.unrolling import check_run, rate_of
from core_distill.matching.walk import Batches, Trained, Walk

_DECAYS = (0.9, 0.999)
_EPSILON = 1e-8


class AdamState(NamedTuple):
    """A run of Adam (arXiv 1412.6980) after `step` steps: parameters and both moments, in the order of the network's."""

    step: int
    parameters: tuple[Tensor, ...]
    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]

    @classmethod
    def at(cls, parameters: Sequence[Tensor]) -> "AdamState":
        """Before the first step."""
        zeros = tuple(torch.zeros_like(value) for value in parameters)
        return cls(0, tuple(parameters), zeros, zeros)


@torch.no_grad()
def train_by_adam(
    network: nn.Module,
    state: AdamState,
    images: Tensor,
    labels: Tensor,
    batch_at: Batches,
    *,
    steps: int,
    step_size: Tensor,
    loss: ExampleLoss = cross_entropy,
) -> AdamState:
    """`state` after `steps` more steps, which are not differentiated; `batch_at` gets the number of each from the run's start.

    Arguments and refusals as of `train_window`; 0 steps give `state` back.
    """
    _check_reach(step_size, state.step + steps)
    check_run(network, state.parameters)
    for _ in range(steps):
        gradients = loss_gradient(network, state.parameters, batch_at(state.step, images, labels), loss=loss)
        state = _stepped(state, gradients, rate_of(step_size, state.step))
    return state


def train_window(
    network: nn.Module,
    state: AdamState,
    images: Tensor,
    labels: Tensor,
    batch_at: Batches,
    *,
    steps: int,
    step_size: Tensor,
    loss: ExampleLoss = cross_entropy,
) -> tuple[Tensor, ...]:
    """The parameters after `steps` more steps of Adam (decays 0.9 and 0.999, epsilon 1e-8) from `state`.

    Differentiable once, with respect to `images`, float `labels` and `step_size`; `state` counts as constant: that is the
    truncation. Exact, except that where a second moment is 0 (no gradient yet) nothing is felt. Memory holds three copies
    of the parameters a step.

    Args:
        images, labels: `(n, *shape)` and `(n,)` or `(n, c)`, handed to `batch_at`, which is called twice a step with the
            number of the step from the run's start, and must give the same both times.
        step_size: a scalar, or one for each step of the whole run.

    Raises `ValueError` for fewer than one step, step sizes that do not reach, a network that normalises over the batch,
    and parameters of another network.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    _check_reach(step_size, state.step + steps)
    check_run(network, state.parameters)
    window = _Window(Trained(network, batch_at, loss), state, steps, current())
    ends: tuple[Tensor, ...] = _AdamWindow.apply(window, images, labels, step_size)
    return ends


def _check_reach(step_size: Tensor, steps: int) -> None:
    if step_size.dim() and len(step_size) < steps:
        raise ValueError(f"step_size must have one number for each of {steps} steps, got {len(step_size)}")


class _Window(NamedTuple):
    """What is trained, and how; everything but what is differentiated."""

    trained: Trained
    state: AdamState
    steps: int
    session: Session


class _Direction(NamedTuple):
    """Of one parameter: the corrected first moment, and what it is divided by before epsilon, `sqrt` of the second."""

    first: Tensor
    root: Tensor

    @classmethod
    def of(cls, first: Tensor, second: Tensor, step: int) -> "_Direction":
        """After so many steps, from 1."""
        return cls(first / _correction(0, step), (second / _correction(1, step)).sqrt())

    def value(self) -> Tensor:
        return self.first / (self.root + _EPSILON)


def _correction(moment: int, step: int) -> float:
    return 1 - _DECAYS[moment] ** step


def _stepped(state: AdamState, gradients: Sequence[Tensor], rate: Tensor) -> AdamState:
    first = tuple(_DECAYS[0] * m + (1 - _DECAYS[0]) * g for m, g in zip(state.first, gradients, strict=True))
    second = tuple(_DECAYS[1] * v + (1 - _DECAYS[1]) * g * g for v, g in zip(state.second, gradients, strict=True))
    moved = zip(state.parameters, first, second, strict=True)
    parameters = tuple(p - rate * _Direction.of(m, v, state.step + 1).value() for p, m, v in moved)
    return AdamState(state.step + 1, parameters, first, second)


class _AdamWindow(torch.autograd.Function):
    """`train_window`: gradients and moments are kept, `theta_t = theta_{t+1} + step_size_t direction_t` leads back."""

    @staticmethod
    def forward(ctx: Any, window: _Window, images: Tensor, labels: Tensor, step_size: Tensor) -> tuple[Tensor, ...]:
        state, kept = window.state, list[Tensor]()
        network, batch_at, loss = window.trained
        for _ in range(window.steps):
            batch = batch_at(state.step, images, labels)
            gradients = loss_gradient(network, state.parameters, batch, loss=loss)
            state = _stepped(state, gradients, rate_of(step_size, state.step))
            kept += [*gradients, *state.first, *state.second]
        ctx.window, ctx.num_parameters = window, len(state.parameters)
        ctx.save_for_backward(images, labels, step_size, *kept, *state.parameters)
        return state.parameters

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        window: _Window = ctx.window
        images, labels, step_size, *kept = ctx.saved_tensors
        count = ctx.num_parameters
        parameters = tuple(kept[-count:])
        walk = _Walk(window, (images, labels, step_size), ctx.needs_input_grad[1:4], cotangents)
        with running_on(window.session):  # a backward pass on a card runs in a thread of its own
            for step in reversed(range(window.steps)):
                parts = kept[3 * count * step : 3 * count * (step + 1)]
                gradients, first, second = parts[:count], parts[count : 2 * count], parts[2 * count :]
                parameters = walk.back(step, parameters, gradients, first, second)
        return None, walk.to_images, walk.to_labels, walk.to_step_size


class _Walk(Walk):
    """The walk backwards through Adam; what is felt of the moments is `to_first` and `to_second`."""

    def __init__(
        self,
        window: _Window,
        inputs: tuple[Tensor, Tensor, Tensor],
        wanted: tuple[bool, bool, bool],
        adjoint: Sequence[Tensor],
    ) -> None:
        super().__init__(window.trained, inputs, wanted, adjoint)
        self._start = window.state.step
        self.to_first = tuple(torch.zeros_like(value) for value in adjoint)
        self.to_second = self.to_first

    def back(
        self,
        step: int,
        ends: Sequence[Tensor],
        gradients: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Undo one step, which led to `ends` and those moments by `gradients`; the parameters that it started at."""
        number = self._start + step
        rate = rate_of(self.step_size, number)
        directions = [_Direction.of(m, v, number + 1) for m, v in zip(first, second, strict=True)]
        values = [direction.value() for direction in directions]
        starts = tuple(end + rate * value for end, value in zip(ends, values, strict=True))
        if self.to_step_size is not None:
            along = torch.stack([(a * value).sum() for a, value in zip(self.adjoint, values, strict=True)]).sum()
            rate_of(self.to_step_size, number).sub_(along)
        to_gradients = self._undo_moments(number + 1, rate, directions, gradients)
        self.feel_gradients(number, starts, to_gradients, to_parameters=step > 0)
        return starts

    def _undo_moments(
        self, count: int, rate: Tensor, directions: Sequence[_Direction], gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        """What the loss feels of the step's gradients, through both moments."""
        to_gradients, to_first, to_second = [], [], []
        parts = zip(self.adjoint, self.to_first, self.to_second, directions, gradients, strict=True)
        for adjoint, felt_first, felt_second, direction, gradient in parts:
            below = direction.root + _EPSILON
            seen = direction.root > 0
            first = felt_first - rate * adjoint / (below * _correction(0, count))
            slope = rate * adjoint * direction.first / (below.square() * 2 * direction.root * _correction(1, count))
            second = felt_second + torch.where(seen, slope, 0)
            found = (1 - _DECAYS[0]) * first + 2 * (1 - _DECAYS[1]) * gradient * second
            to_gradients.append(torch.where(seen, found, 0))
            to_first.append(_DECAYS[0] * first)
            to_second.append(_DECAYS[1] * second)
        self.to_first, self.to_second = tuple(to_first), tuple(to_second)
        return to_gradients
