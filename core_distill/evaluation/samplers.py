"""Draws from the posterior of a network's parameters given a small set, by Hamiltonian Monte Carlo, exact or approximate.

The posterior of `theta` given a set `S` of `n` examples has the potential `n l_S(theta) + precision / 2 |theta|^2`: the
likelihood of the set and a normal prior.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor, nn

from core_distill.engine import ExampleLoss, cross_entropy, loss_gradient, mean_loss
from core_distill.types import Batch
from core_distill.vectors import Vector, moved


@dataclass(frozen=True)
class Potential:
    """Minus the logarithm of a posterior density, up to a constant.

    Args:
        network: whose structure counts, not its parameters.
        batch: flat; all of its `n` examples count alike, weights are not read.
        precision: of the normal prior of every parameter, one over its variance.
        loss: minus the log-likelihood of an example.
    """

    network: nn.Module
    batch: Batch
    precision: float = 1.0
    loss: ExampleLoss = cross_entropy

    @torch.no_grad()
    def value(self, parameters: Vector) -> Tensor:
        """A scalar."""
        batch = Batch(self.batch.images, self.batch.labels)
        likelihood = len(batch.images) * mean_loss(self.network, parameters, batch, loss=self.loss)
        return likelihood + 0.5 * self.precision * _square(parameters)

    @torch.no_grad()
    def gradient(self, parameters: Vector) -> Vector:
        """One tensor a parameter."""
        batch = Batch(self.batch.images, self.batch.labels)
        found = loss_gradient(self.network, parameters, batch, loss=self.loss)
        count = len(batch.images)
        return tuple(count * g + self.precision * p for g, p in zip(found, parameters, strict=True))


class Sampler(Protocol):
    """`sampler(potential, start, generator)` yields draws of the parameters, without end."""

    def __call__(self, potential: Potential, start: Vector, generator: Generator) -> Iterator[Vector]: ...


@dataclass(frozen=True, kw_only=True)
class Hmc:
    """Hamiltonian Monte Carlo (Neal, arXiv 1206.1901): leapfrog steps, then kept or not by Metropolis' rule.

    Args:
        step_size: of a leapfrog step; with unit masses.
        leapfrog_steps: to a draw.

    Raises `ValueError` for values out of range, and where its first 20 draws are all refused.
    """

    step_size: float = 0.01
    leapfrog_steps: int = 20

    def __post_init__(self) -> None:
        _check(self.step_size, self.leapfrog_steps)

    def __call__(self, potential: Potential, start: Vector, generator: Generator) -> Iterator[Vector]:
        """Every draw; one that was refused is the draw before once more."""
        position, energy, gradient = start, potential.value(start), potential.gradient(start)
        refused: int | None = 0
        while True:
            momentum = _normal(start, generator)
            before = energy + 0.5 * _square(momentum)
            trial, slope = position, gradient
            for _ in range(self.leapfrog_steps):
                momentum = moved(momentum, slope, -0.5 * self.step_size)
                trial = moved(trial, momentum, self.step_size)
                slope = potential.gradient(trial)
                momentum = moved(momentum, slope, -0.5 * self.step_size)
            there = potential.value(trial)
            chance = torch.rand((), generator=generator, dtype=energy.dtype, device=energy.device)
            kept = chance.log() < before - there - 0.5 * _square(momentum)  # NaN is not kept
            position, gradient = _choose(kept, trial, position), _choose(kept, slope, gradient)
            energy = torch.where(kept, there, energy)
            if refused is not None:  # nobody asks once a draw was accepted
                refused = None if kept else refused + 1
            if refused == _HOPELESS:
                raise ValueError(
                    f"HMC refused its first {_HOPELESS} draws, each of step_size {self.step_size:g}: lower it"
                )
            yield position


@dataclass(frozen=True, kw_only=True)
class Sghmc:
    """Stochastic gradient HMC (Chen et al., arXiv 1402.4102, equation 15), on the gradient of the whole set.

    Without a refusal of bad draws, so it is biased by its step size, which may be larger and the steps fewer.

    Args:
        step_size: the square root of the paper's learning rate, comparable to that of `Hmc`.
        friction: what a step takes from the momentum, in (0, 1].
        temperature: 1 samples the posterior, less a sharper one; the released code of pseudocoresets has 0.01.
        steps: to a draw.

    Raises `ValueError` for values out of range.
    """

    step_size: float = 0.01
    friction: float = 0.1
    temperature: float = 1.0
    steps: int = 20

    def __post_init__(self) -> None:
        _check(self.step_size, self.steps)
        if not 0 < self.friction <= 1 or not 0 <= self.temperature < math.inf:
            raise ValueError(
                f"friction must lie in (0, 1] and temperature be at least 0, got {self.friction} and {self.temperature}"
            )

    def __call__(self, potential: Potential, start: Vector, generator: Generator) -> Iterator[Vector]:
        """Every draw."""
        position, momentum = start, _normal(start, generator)
        spread = math.sqrt(2 * self.friction * self.temperature)
        while True:
            for _ in range(self.steps):
                position = moved(position, momentum, self.step_size)
                momentum = tuple((1 - self.friction) * value for value in momentum)
                momentum = moved(momentum, potential.gradient(position), -self.step_size)
                momentum = moved(momentum, _normal(start, generator), spread)
            yield position


_HOPELESS = 20
"""Draws of HMC after which it is said that none was accepted."""


def _check(step_size: float, steps: int) -> None:
    if not 0 < step_size < math.inf or steps < 1:
        raise ValueError(f"step_size must be above 0 and steps at least 1, got {step_size} and {steps}")


def _normal(like: Vector, generator: Generator) -> Vector:
    return tuple(torch.randn(v.shape, generator=generator, dtype=v.dtype, device=v.device) for v in like)


def _square(values: Sequence[Tensor]) -> Tensor:
    """In float64: half of it is an energy, as large as there are parameters, of which differences of 1 decide."""
    return torch.stack([value.square().sum(dtype=torch.float64) for value in values]).sum()


def _choose(which: Tensor, first: Vector, second: Vector) -> Vector:
    return tuple(torch.where(which, a, b) for a, b in zip(first, second, strict=True))
