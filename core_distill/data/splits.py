"""Train, validation and test: how they are cut from each other, normalised and identified."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from core_distill.data.class_sampler import ClassSampler, check_images, check_labels
from core_distill.data.mapped import Images, chunks_of, select
from core_distill.data.reading import ChannelStatistics, read_once
from core_distill.data.whitening import Whitening
from core_distill.randomness import derive_generator

TEST_FRACTION = 0.2
"""The part of each class that becomes the test set where a source comes without one."""


class Examples(NamedTuple):
    """Images `(n, c, ...)`, uint8 or float, with their class numbers `(n,)`, as read and not yet normalised."""

    images: Images
    labels: Tensor


@dataclass(frozen=True)
class DataSplits:
    """A data set ready for use.

    `train` and `validation` come from the source's train set; `test` is for the one score at the end.
    `public_normalisation` says that mean and std are constants that were not computed from this train set, as a private
    method needs. `digest` names the content of train, validation and test together, whatever the split's seed, and before
    `whiten`, whose `whitening` all three parts have.
    """

    name: str
    train: ClassSampler
    validation: ClassSampler
    test: ClassSampler
    class_names: tuple[str, ...]
    public_normalisation: bool
    digest: str
    whitening: Whitening | None = None

    def to(self, device: torch.device | str) -> "DataSplits":
        """The same with all three samplers on `device`."""
        return self._with_each(lambda part: part.to(device))

    def normalised(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> "DataSplits":
        """The same examples with other constants, a number a channel, which count as public, as in `load_data`.

        Raises `ValueError` for unfit constants and where the examples are whitened, which comes after normalisation.
        """
        if self.whitening is not None:
            raise ValueError(f"{self.name} is whitened; normalise it before")
        return replace(self._with_each(lambda part: part.normalised(mean, std)), public_normalisation=True)

    def require_images(self, images_per_class: int) -> None:
        """Raise `ValueError` where a class has fewer than `images_per_class` images to train on."""
        smallest = int(self.train.class_sizes.min())
        if images_per_class > smallest:
            raise ValueError(
                f"{images_per_class} images a class were asked for, and the smallest class of {self.name} has {smallest} to "
                "train on: ask for fewer"
            )

    def _with_each(self, change: Callable[[ClassSampler], ClassSampler]) -> "DataSplits":
        return replace(self, train=change(self.train), validation=change(self.validation), test=change(self.test))


def make_splits(
    train: Examples,
    test: Examples,
    *,
    name: str,
    class_names: Sequence[str],
    mean: Sequence[float] | Tensor | None,
    std: Sequence[float] | Tensor | None,
    validation_fraction: float,
    seed: int,
) -> DataSplits:
    """Check both sets, cut validation out of train by `seed`, normalise, and name the content.

    Without `mean` and `std`, `(c,)` each, they are computed over what remains of train. Raises `ValueError` for bad
    examples (saying in which set), a class without train images, and a train set too small to be cut.
    """
    if (mean is None) != (std is None):
        raise ValueError("mean and std belong together: give both or neither")
    if not 0 < validation_fraction < 1:
        raise ValueError(f"validation_fraction must lie between 0 and 1, both excluded, got {validation_fraction}")
    _check_sets(train, test, num_classes=len(class_names))
    kept, held_out = stratified_split(train.labels, validation_fraction, derive_generator(seed))
    if not len(held_out):
        raise ValueError("every class has a single train image, so none is left for validation: add images")
    parts = (("train set", *train), ("test set", *test))
    if mean is not None and std is not None:
        statistics, digest = (mean, std), read_once(parts)
    else:
        seen = ChannelStatistics()
        digest = read_once(parts, seen, kept)
        statistics = seen.result()

    def sampler(images: Images, labels: Tensor) -> ClassSampler:
        return ClassSampler(images, labels, num_classes=len(class_names), mean=statistics[0], std=statistics[1])

    splits = DataSplits(
        name=name,
        train=sampler(select(train.images, kept), train.labels[kept]),
        validation=sampler(select(train.images, held_out), train.labels[held_out]),
        test=sampler(*test),
        class_names=tuple(class_names),
        public_normalisation=mean is not None,
        digest=digest,
    )
    splits.train.require_all_classes(splits.class_names)
    return splits


def stratified_split(labels: Tensor, fraction: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Two sets of positions in `labels (n,)`, ascending int64: the rest, and about `fraction` of each class at random.

    Of a class with 2 or more, both sets get at least one; a single example goes to the rest.
    """
    order = torch.randperm(len(labels), generator=generator)
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for number in labels.bincount().nonzero().flatten().tolist():
        members = order[labels[order] == number]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out[members[:count]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def fixed_test_split(examples: Examples) -> tuple[Examples, Examples]:
    """Train and test set cut from one set, a fifth of each class for testing: the same images whatever a run's seed.

    Raises `ValueError` where no class has two.
    """
    train, test = stratified_split(examples.labels, TEST_FRACTION, derive_generator(0))
    if not len(test):
        raise ValueError(
            "no class has 2 images, of which a fifth, at least one, is kept for testing: put in more of each"
        )
    return (
        Examples(select(examples.images, train), examples.labels[train]),
        Examples(select(examples.images, test), examples.labels[test]),
    )


def channel_statistics(images: Images) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of `images (n, c, ...)`, float64 `(c,)`; uint8 counts as 0 to 1.

    A constant channel gets the standard deviation 1, so that it can be normalised.
    """
    seen = ChannelStatistics()
    for piece in chunks_of(images):
        seen.add(piece)
    return seen.result()


def _check_sets(train: Examples, test: Examples, *, num_classes: int) -> None:
    for part, (images, labels) in (("train", train), ("test", test)):
        try:
            check_images(images)
            check_labels(labels, len(images), num_classes)
        except ValueError as error:
            raise ValueError(f"{part} set: {error}") from error
    if train.images.shape[1:] != test.images.shape[1:] or train.images.dtype != test.images.dtype:
        raise ValueError(
            f"train and test images must be alike, got {tuple(train.images.shape[1:])} {train.images.dtype} "
            f"and {tuple(test.images.shape[1:])} {test.images.dtype}"
        )
