"""Differentiable siamese augmentation: one draw, applied to the real and to the synthetic images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Generator, Tensor

from core_distill.augment.operations import OPERATIONS
from core_distill.randomness import host_integers
from core_distill.types import Batch

_MIRRORED_MEANS_ANOTHER = ("digits", "mnist", "svhn")

DSA_OPERATIONS = tuple(OPERATIONS)
"""All six, the strategy for Fashion-MNIST and CIFAR; leave out `flip` for digits."""


@final
@dataclass(frozen=True)
class Dsa:
    """The augmentation of DSA (arXiv 2102.08259, section 3.2): one of `operations` at a time, with random parameters.

    Called as a `SiameseAugment` it changes both batches alike; `per_image` is the `Augment` for training networks.
    Every random number comes from the generator, which lives on the images' device; gradients flow to all images;
    nothing makes the host wait for a CUDA device.

    Without operations it leaves both batches as they are. Raises `ValueError` for an unknown operation.
    """

    operations: tuple[str, ...] = DSA_OPERATIONS

    def __post_init__(self) -> None:
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"unknown DSA operations {unknown}: choose from {', '.join(DSA_OPERATIONS)}")

    def __call__(self, real: Batch, synthetic: Batch, generator: Generator) -> tuple[Batch, Batch]:
        """Both batches with new images of the same shapes; labels and weights stay.

        Grouped, `(k, n, c, h, w)`: each class draws one operation and one set of its parameters, for all its images in
        both batches, which may differ in `n`. Flat, `(n, c, h, w)`: one draw for all images.
        Raises `ValueError` where the batches do not match.
        """
        return self._change(real, synthetic, generator, None)

    def shard(self, rows: range, of: int) -> "DsaShard":
        """This augmentation where a process holds only `rows` of the `of` rows of each grouped batch."""
        return DsaShard(self, rows, of)

    def _change(
        self, real: Batch, synthetic: Batch, generator: Generator, rows: tuple[range, int] | None
    ) -> tuple[Batch, Batch]:
        if not self.operations:
            return real, synthetic
        grouped = real.images.dim() == 5
        first, second = (batch.images if grouped else batch.images[None] for batch in (real, synthetic))
        if first.dim() != 5 or second.dim() != 5 or _change_shape(first) != _change_shape(second):
            raise ValueError(
                "siamese augmentation needs two grouped batches (k, n, c, h, w) with the same classes, or two flat "
                f"ones (n, c, h, w), of images of one size; got {tuple(real.images.shape)} and "
                f"{tuple(synthetic.images.shape)}"
            )
        changed = self._change_alike((first, second), generator, rows or (range(len(first)), len(first)))
        first, second = changed if grouped else (images[0] for images in changed)
        return real._replace(images=first), synthetic._replace(images=second)

    def per_image(self, images: Tensor, generator: Generator) -> Tensor:
        """`images (n, c, h, w)` changed by one operation, drawn for all, with parameters drawn for each image.

        What is no image, such as a sequence `(n, d, length)`, stays as it is.
        """
        if not self.operations or images.dim() != 4:
            return images
        choice = int(host_integers(len(self.operations), 1, generator))
        operation = OPERATIONS[self.operations[choice]]
        parameters = operation.draw(images.shape[0], images.shape[2], images.shape[3], generator)
        return operation.apply(images[:, None], *parameters)[:, 0]

    def _change_alike(self, batches: Sequence[Tensor], generator: Generator, shard: tuple[range, int]) -> list[Tensor]:
        """Row `i` of every `(g, m, c, h, w)` tensor under the same draw; rows with one operation go together.

        `shard` says which rows these are and of how many: draws are made for all, whoever holds them.
        """
        rows, count = shard
        height, width = batches[0].shape[3:]
        everyone = host_integers(len(self.operations), count, generator)
        totals = torch.bincount(everyone, minlength=len(self.operations)).tolist()
        before = torch.bincount(everyone[: rows.start], minlength=len(self.operations)).tolist()
        choices = everyone[rows.start : rows.stop]
        counts = torch.bincount(choices, minlength=len(self.operations)).tolist()
        order = choices.argsort(stable=True).to(batches[0].device, non_blocking=True)
        parts = [torch.split(batch.index_select(0, order), counts) for batch in batches]
        changed: list[list[Tensor]] = [[] for _ in batches]
        for number, name in enumerate(self.operations):
            if not totals[number]:
                continue
            drawn = OPERATIONS[name].draw(totals[number], height, width, generator)
            if counts[number]:
                parameters = [value[before[number] :][: counts[number]] for value in drawn]
                for part, results in zip(parts, changed, strict=True):
                    results.append(OPERATIONS[name].apply(part[number], *parameters))
        back = order.argsort()
        return [torch.cat(results).index_select(0, back) for results in changed]


@final
@dataclass(frozen=True)
class DsaShard:
    """`dsa` in a process that holds `rows` of the `of` rows of every grouped batch.

    With equal generators, the processes together change their rows as `dsa` alone changes the whole.
    """

    dsa: Dsa
    rows: range
    of: int

    def __call__(self, real: Batch, synthetic: Batch, generator: Generator) -> tuple[Batch, Batch]:
        """Both grouped batches of the own rows, changed; raises what `Dsa` raises."""
        return self.dsa._change(real, synthetic, generator, (self.rows, self.of))

    def per_image(self, images: Tensor, generator: Generator) -> Tensor:
        """As `Dsa.per_image`: training sees the same images in every process."""
        return self.dsa.per_image(images, generator)


def dsa_for(data: str) -> Dsa:
    """DSA's strategy for a data set by name: all six operations, but no flips of digits (MNIST, SVHN, digits)."""
    return Dsa(tuple(name for name in DSA_OPERATIONS if name != "flip" or data not in _MIRRORED_MEANS_ANOTHER))


all_operations = Dsa()
"""DSA with all six operations."""

no_augment = Dsa(operations=())
"""The augmentation of methods that have none."""


def _change_shape(images: Tensor) -> tuple[int, ...]:
    """What two batches under one change share: the rows and the images' shape."""
    return images.shape[0], *images.shape[2:]
