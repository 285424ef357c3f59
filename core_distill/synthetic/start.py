"""What a synthetic set starts from: real data, a budget and random numbers; with a network's opinion where one is asked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from core_distill.data import ClassSampler
from core_distill.progress import ShowProgress, silent
from core_distill.synthetic.synthetic_set import Decoder, Labels
from core_distill.types import NetworkFactory

Teacher = Callable[[Tensor], Tensor]
"""`teacher(images (n, *shape)) -> logits (n, num_classes)`, of networks trained on the real data."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What images start from.

    Args:
        images_per_class: the budget: what is made costs about as many bytes a class as so many images.
        initialise: draws the images that a parametrisation starts at.
        new_network: of the architecture that is matched on.
        generator: of every random number.
        teacher: for whoever asks by `taught`.
        folder: where something that takes long to train may be kept for the next run; `None` keeps nothing.
        show: who sees how far such training is.
    """

    real: ClassSampler
    images_per_class: int
    initialise: "Initialise"
    new_network: NetworkFactory
    generator: Generator
    teacher: Teacher | None = None
    folder: Path | None = None
    show: ShowProgress = silent

    def draw(self, images_per_class: int) -> Tensor:
        """Images to start at, class after class: `(k * images_per_class, *shape)`, normalised."""
        return self.initialise(self, images_per_class)

    def taught(self, images: Tensor) -> Tensor:
        """The teacher's logits of `images (n, *shape)`; `ValueError` where there is no teacher."""
        if self.teacher is None:
            raise ValueError("there is no teacher: give the recipe `experts`, networks trained on the real data")
        return self.teacher(images)


@dataclass(frozen=True, kw_only=True)
class Slots:
    """What labels start from: the slots of a set whose images are there.

    Args:
        targets: each slot's class, int64 `(slots,)`.
        images: as they start, `(slots, views, *shape)`.
    """

    start: Start
    targets: Tensor
    images: Tensor

    @property
    def num_classes(self) -> int:
        return self.start.real.num_classes


Initialise = Callable[[Start, int], Tensor]
"""`initialise(start, images_per_class) -> (k * images_per_class, *shape)`, class after class."""

StartImages = Callable[[Start], Decoder]
"""Makes the images of a set; its keyword-only values are the recipe's."""

StartLabels = Callable[[Slots], Labels]
"""Makes the labels of a set; its keyword-only values are the recipe's."""


def slots_of(start: Start, images: Decoder) -> Slots:
    """The slots of `images`, which are a whole number for each class; `ValueError` where they are not."""
    count, num_classes = images.num_slots, len(start.real.classes)
    if not count or count % num_classes:
        raise ValueError(f"{type(images).__name__} has {count} slots, which {num_classes} classes cannot share evenly")
    with torch.no_grad():
        made = images(torch.arange(count, device=start.real.device), start.generator)
    return Slots(
        start=start,
        targets=start.real.classes.repeat_interleave(count // num_classes),
        images=made.unflatten(0, (count, -1)),
    )
