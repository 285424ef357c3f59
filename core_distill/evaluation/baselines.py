"""Selection at equal bytes: what the same number of bytes of real images would have given."""

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from core_distill.data import (
    ClassSampler,
    embed,
    forgetting_coreset,
    herding_coreset,
    images_for_bytes,
    k_centre_coreset,
    kmeans_coreset,
    random_coreset,
)
from core_distill.engine import logits
from core_distill.networks import Architecture, network_factory
from core_distill.randomness import derive_generator
from core_distill.training import fit
from core_distill.types import Batch

_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """The training images, with what a network trained on some of them says; it is trained when it is first asked."""

    train: ClassSampler
    architecture: Architecture
    seed: int
    num_images: int
    epochs: int

    @functools.cached_property
    def features(self) -> Tensor:
        """Of all images, `(n, d)`."""
        generator = derive_generator(self.seed, "embedding", device=self.train.device)
        network = self._network(generator)
        fit(
            network,
            self.train.batch(self.num_images, generator),
            epochs=self.epochs,
            learning_rate=0.01,
            momentum=0.9,
            generator=generator,
        )
        return embed(network, self.train)

    def forgotten(self) -> Tensor:
        """How often each image was forgotten, see `forgetting_coreset`: after each epoch of training on some of them."""
        generator = derive_generator(self.seed, "forgetting", device=self.train.device)
        network, train = self._network(generator), self.train
        seen = torch.randperm(len(train), generator=generator, device=train.device)[: self.num_images]
        batch = train.take(seen)
        counts = torch.zeros(len(seen), dtype=torch.int64, device=train.device)
        right = ever = torch.zeros(len(seen), dtype=torch.bool, device=train.device)
        for _ in range(self.epochs):
            fit(network, batch, epochs=1, learning_rate=0.01, momentum=0.9, generator=generator)
            said = torch.cat([logits(network, images).argmax(-1) for images in batch.images.split(_CHUNK)])
            now = said == batch.labels
            counts, ever, right = counts + (right & ~now), ever | now, now
        never = torch.where(ever, counts, self.epochs)
        return torch.full((len(train),), -1, dtype=torch.int64, device=train.device).index_put((seen,), never)

    def _network(self, generator: Generator) -> torch.nn.Module:
        return network_factory(self.architecture, self.train.image_shape, self.train.num_classes)(generator)


Choose = Callable[[_Candidates, int, Generator], Tensor]
"""`choose(candidates, images_per_class, generator)`: positions in the training images, class by class."""


def _random(candidates: _Candidates, images_per_class: int, generator: Generator) -> Tensor:
    return random_coreset(candidates.train, images_per_class, generator)


def _herding(candidates: _Candidates, images_per_class: int, generator: Generator) -> Tensor:
    return herding_coreset(candidates.train, images_per_class, candidates.features)


def _kmeans(candidates: _Candidates, images_per_class: int, generator: Generator) -> Tensor:
    return kmeans_coreset(candidates.train, images_per_class, candidates.features, generator)


def _k_centre(candidates: _Candidates, images_per_class: int, generator: Generator) -> Tensor:
    return k_centre_coreset(candidates.train, images_per_class, candidates.features)


def _forgetting(candidates: _Candidates, images_per_class: int, generator: Generator) -> Tensor:
    return forgetting_coreset(candidates.train, images_per_class, candidates.forgotten(), generator)


_CHOICES: dict[str, Choose] = {
    "random": _random,
    "herding": _herding,
    "kmeans": _kmeans,
    "k-centre": _k_centre,
    "forgetting": _forgetting,
}
BASELINES = tuple(_CHOICES)
"""The names of the selections, in the order of tables."""

USUAL_BASELINES = ("random", "herding", "kmeans")
"""Those that stand beside a score where nothing else is asked."""


class Selection(NamedTuple):
    """A baseline's real images as a flat batch, with what they cost in bytes as uint8 with one byte a label."""

    name: str
    batch: Batch
    images_per_class: int
    num_bytes: int


def check_baselines(names: tuple[str, ...]) -> None:
    """Raise `ValueError`, listing the known ones, for an unknown name."""
    unknown = sorted(set(names) - set(BASELINES))
    if unknown:
        raise ValueError(f"unknown baseline {', '.join(unknown)}; known: {', '.join(BASELINES)}")


def select_baselines(
    train: ClassSampler,
    *,
    budget_bytes: int,
    network: Architecture,
    seed: int,
    names: tuple[str, ...] = USUAL_BASELINES,
    embedding_images: int = 10_000,
    embedding_epochs: int = 5,
) -> Iterator[Selection]:
    """Selections of `train` by the names in `BASELINES`, as many images a class as `budget_bytes` pay for.

    Herding, k-means and k-centre choose in the feature space of a network trained on real images (`embedding_images` drawn
    from train for `embedding_epochs`); forgetting counts after each epoch of as much training, of another network on other
    images (Toneva et al., arXiv 1812.05159, count at every presentation over a full training, which tells more images
    apart). Raises `ValueError` for an unknown name.
    """
    check_baselines(names)
    count = images_for_bytes(budget_bytes, train)
    candidates = _Candidates(
        train=train, architecture=network, seed=seed, num_images=embedding_images, epochs=embedding_epochs
    )
    for name in names:
        chosen = _CHOICES[name](candidates, count, derive_generator(seed, "baseline", name, device=train.device))
        size = len(chosen) * (math.prod(train.image_shape) + 1)
        yield Selection(name, train.take(chosen), count, size)
