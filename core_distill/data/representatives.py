"""Real batches of examples that stand for their class: DREAM's choice by clusters of features, instead of a random one.

Random draws are uneven: some repeat what others show, and some lie at the border to another class. Imported by its full
name, since the networks whose features are compared import `core_distill.data`.
"""

from typing import final

import torch
from torch import Generator, Tensor

from core_distill.data.class_sampler import ClassSampler
from core_distill.engine import features
from core_distill.types import Batch, NetworkFactory

_CHUNK = 1024
"""Candidates that are normalised at once."""

_ROUNDS = 20
"""Rounds of k-means: a fixed number, so that no device is asked whether it has converged."""


@final
class RepresentativeSampler:
    """A `RealData` of `real` whose grouped batches are chosen by clusters (DREAM, arXiv 2302.14416, section 3.2).

    Of each class, the features of random candidates under a fresh network are put into as many clusters as examples are
    asked for, and the example nearest to each centre is taken. The next draws give the same examples, `refresh` in all,
    as long as they are of one size and one generator: an episode has its own, so nothing outlives it and there is nothing
    to save. A choice costs a forward pass over the candidates of all classes, and little beside. It is for losses: what
    judges a network draws from `real` itself, or it would see the same images again and again.

    The paper takes features of the network that is matched on, at its age; a `RealData` knows none.

    Args:
        refresh: draws of an episode that share a choice; where it has one draw, each is a choice.
        candidates: how many each class has, at least as many as are asked for; 0 takes all of its examples. A class of
            fewer shows some more than once, which then count more than once.

    Raises `ValueError` for a refresh below 1 or a negative number of candidates.
    """

    def __init__(
        self, real: ClassSampler, new_network: NetworkFactory, *, refresh: int = 10, candidates: int = 0
    ) -> None:
        if refresh < 1 or candidates < 0:
            raise ValueError(
                f"refresh must be at least 1 and candidates at least 0 (all of a class), got {refresh} and {candidates}"
            )
        self._real, self._new_network = real, new_network
        self._refresh, self._candidates = refresh, candidates
        self._largest_class = int(real.class_sizes.max())
        self._generator: Generator | None = None
        self._chosen = torch.empty(0)
        self._draws_left = 0

    @property
    def classes(self) -> Tensor:
        """The class numbers present, int64 `(k,)`, ascending."""
        return self._real.classes

    @property
    def num_classes(self) -> int:
        """How many classes the whole task has."""
        return self._real.num_classes

    def by_class(self, size: int, generator: Generator) -> Batch:
        """`size` representatives of each class, `(k, size, *image_shape)`; a class with fewer examples repeats some.

        Raises `ValueError` for a size below 1.
        """
        if size < 1:
            raise ValueError(f"a batch needs at least 1 example, got size {size}")
        if generator is not self._generator or self._chosen.shape[-1] != size or not self._draws_left:
            self._chosen = self._choose(size, generator)
            self._generator, self._draws_left = generator, self._refresh
        self._draws_left -= 1
        return self._real.take(self._chosen)

    def batch(self, size: int, generator: Generator) -> Batch:
        """`size` random examples over all classes, as `ClassSampler.batch`: what networks train on is no choice."""
        return self._real.batch(size, generator)

    @torch.no_grad()
    def _choose(self, size: int, generator: Generator) -> Tensor:
        """Positions of the representatives, `(k, size)`."""
        count = max(size, self._candidates or self._largest_class)
        positions = self._real.draws.by_class(count, generator)
        network = self._new_network(generator).eval()
        chunks = positions.flatten().split(_CHUNK)
        found = torch.cat([features(network, self._real.take(chunk).images) for chunk in chunks])
        return positions.gather(1, nearest_to_centres(found.unflatten(0, positions.shape), size))


def nearest_to_centres(points: Tensor, num_clusters: int) -> Tensor:
    """Which of `points (k, p, d)` are nearest to the centres of `num_clusters` clusters of their row: int64 `(k, m)`.

    K-means of each row on its own, from its first points, in a fixed number of rounds; a cluster that runs empty keeps
    its centre. Each centre takes a point of its own cluster, so none is taken twice, unless a cluster is empty. Nothing
    waits for the device.
    """
    centres = points[:, :num_clusters]
    for _ in range(_ROUNDS):
        members = _members(points, centres)
        counts = members.sum(1).unsqueeze(2)
        centres = torch.where(counts > 0, members.mT @ points / counts.clamp(min=1), centres)
    distances, members = _squared_distances(points, centres), _members(points, centres) > 0
    own = distances.masked_fill(~members, torch.inf).argmin(1)
    return torch.where(members.any(1), own, distances.argmin(1))


def _members(points: Tensor, centres: Tensor) -> Tensor:
    """1 where a point belongs to a centre, `(k, p, m)`, in the precision of the points."""
    nearest = _squared_distances(points, centres).argmin(2)
    return (nearest.unsqueeze(2) == torch.arange(centres.shape[1], device=points.device)).to(points.dtype)


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """`(k, p, m)`; may be a little below 0 by rounding."""
    products = points @ centres.mT
    return points.square().sum(2, keepdim=True) + centres.square().sum(2).unsqueeze(1) - 2 * products
