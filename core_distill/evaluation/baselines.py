"""Selection at equal bytes: what the same number of bytes of real images would have given."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Generator, Tensor

from core_distill.data import ClassSampler, embed, herding_coreset, images_for_bytes, kmeans_coreset, random_coreset
from core_distill.networks import Architecture, network_factory
from core_distill.randomness import derive_generator
from core_distill.training import fit
from core_distill.types import Batch

Features = Callable[[], Tensor]
"""The features of all training images, `(n, d)`, computed when they are first asked for."""

Choose = Callable[[ClassSampler, int, Generator, Features], Tensor]
"""`choose(train, images_per_class, generator, features)`: positions in `train`, class by class."""


def _random(train: ClassSampler, images_per_class: int, generator: Generator, features: Features) -> Tensor:
    return random_coreset(train, images_per_class, generator)


def _herding(train: ClassSampler, images_per_class: int, generator: Generator, features: Features) -> Tensor:
    return herding_coreset(train, images_per_class, features())


def _kmeans(train: ClassSampler, images_per_class: int, generator: Generator, features: Features) -> Tensor:
    return kmeans_coreset(train, images_per_class, features(), generator)


_CHOICES: dict[str, Choose] = {"random": _random, "herding": _herding, "kmeans": _kmeans}
BASELINES = tuple(_CHOICES)
"""The names of the selections, in the order of tables."""


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
    names: tuple[str, ...] = BASELINES,
    embedding_images: int = 10_000,
    embedding_epochs: int = 5,
) -> Iterator[Selection]:
    """Random, herding and k-means selections of `train`, as many images a class as `budget_bytes` pay for.

    Herding and k-means choose in the feature space of a network trained on real images (`embedding_images` drawn from
    train for `embedding_epochs`). Raises `ValueError` for an unknown name.
    """
    check_baselines(names)
    count = min(images_for_bytes(budget_bytes, train), int(train.class_sizes.min()))

    @functools.cache
    def features() -> Tensor:
        return _features(train, network, seed, embedding_images, embedding_epochs)

    for name in names:
        chosen = _CHOICES[name](train, count, derive_generator(seed, "baseline", name, device=train.device), features)
        size = len(chosen) * (math.prod(train.image_shape) + 1)
        yield Selection(name, train.take(chosen), count, size)


def _features(train: ClassSampler, architecture: Architecture, seed: int, num_images: int, epochs: int) -> Tensor:
    generator = derive_generator(seed, "embedding", device=train.device)
    network = network_factory(architecture, train.image_shape, train.num_classes)(generator)
    fit(
        network,
        train.batch(num_images, generator),
        epochs=epochs,
        learning_rate=0.01,
        momentum=0.9,
        generator=generator,
    )
    return embed(network, train)
