"""Distances between characteristic functions: two distributions of features are one where these agree everywhere."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core_distill.engine import features
from core_distill.matching.batching import class_means, refuse_batch_statistics
from core_distill.types import Batch

_SMALLEST = 1e-12
"""Below it a square counts as zero: its root has no gradient there."""

_NUMBERS_AT_ONCE = 1 << 24
"""Products of features and frequencies in memory at a time."""


class CharacteristicFunction:
    """The signal of NCFM (arXiv 2502.20653): each class's mean of `exp(i t.f)` over features of unit length.

    Args:
        frequencies: the points `t` where it is taken, `(f, d)`.
    """

    def __init__(self, frequencies: Tensor) -> None:
        self.frequencies = frequencies

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Real and imaginary part of a grouped batch, `(k, f)` each; differentiable with respect to images."""
        found = _unit_features(network, batch)
        rows = max(1, _NUMBERS_AT_ONCE // (found.shape[1] * len(self.frequencies)))
        weights = torch.ones_like(found[..., 0]) if batch.weights is None else batch.weights
        means = [
            [class_means(wave, own) for wave in self._waves(piece)]
            for piece, own in zip(found.split(rows), weights.split(rows), strict=True)
        ]
        return tuple(torch.cat(parts) for parts in zip(*means, strict=True))

    def per_example(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Cosine and sine of every example, `(k, n, f)` each."""
        return self._waves(_unit_features(network, batch))

    def _waves(self, found: Tensor) -> tuple[Tensor, Tensor]:
        angles = found @ self.frequencies.T
        return angles.cos(), angles.sin()


def characteristic_discrepancy(
    own: tuple[Tensor, ...], targets: tuple[Tensor, ...], *, amplitude_weight: float = 0.5, phase_weight: float = 0.5
) -> Tensor:
    """Distance between characteristic functions given as real and imaginary part, `(k, f)` each: `(k,)`.

    The mean over frequencies of `sqrt(a * amplitude + b * phase)` (NCFM, as released): `amplitude` is the squared difference of
    the absolute values, `phase` twice their product times 1 - cosine of the angle between. With both weights 1 that is the
    distance in the complex plane, with both a half `sqrt(1 / 2)` of it.
    """
    lengths = [_length(*value) for value in (own, targets)]
    amplitude = (lengths[0] - lengths[1]).square()
    phase = 2 * (lengths[0] * lengths[1] - own[0] * targets[0] - own[1] * targets[1])
    squares = amplitude_weight * amplitude + phase_weight * phase.clamp(min=0)
    return squares.clamp(min=_SMALLEST).sqrt().mean(1)


def characteristic_distance(
    network: nn.Module,
    real: Batch,
    synthetic: Batch,
    frequencies: Tensor,
    *,
    amplitude_weight: float = 0.5,
    phase_weight: float = 0.5,
) -> Tensor:
    """Sum over classes of the discrepancy between real and synthetic features at `frequencies (f, d)`; a scalar.

    Both batches are grouped by class, `(k, n, *shape)`; the real side is detached.
    """
    signal = CharacteristicFunction(frequencies)
    with torch.no_grad():
        targets = signal(network, real)
    own = signal(network, synthetic)
    found = characteristic_discrepancy(own, targets, amplitude_weight=amplitude_weight, phase_weight=phase_weight)
    return found.sum()


def _unit_features(network: nn.Module, batch: Batch) -> Tensor:
    """Features of a grouped batch, `(k, n, d)`, each of length 1."""
    refuse_batch_statistics(network)
    found = features(network, batch.images.flatten(0, 1))
    unit: Tensor = F.normalize(found, dim=1).unflatten(0, batch.images.shape[:2])
    return unit


def _length(real: Tensor, imaginary: Tensor) -> Tensor:
    length: Tensor = (real.square() + imaginary.square()).clamp(min=_SMALLEST).sqrt()
    return length
