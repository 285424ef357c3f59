"""Where the images start: at real ones, or at noise that knows nothing of the data."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from core_distill.data import ClassSampler

Initialise = Callable[[ClassSampler, int, Generator], Tensor]
"""`initialise(real, images_per_class, generator) -> (k * images_per_class, *shape)`, class after class."""


def real_images(real: ClassSampler, images_per_class: int, generator: Generator) -> Tensor:
    """Random real images of each class; a class with fewer than asked for gives some of them again."""
    return real.by_class(images_per_class, generator).images.flatten(0, 1)


def noise(real: ClassSampler, images_per_class: int, generator: Generator) -> Tensor:
    """Standard normal noise in normalised units; of the data it uses the shape and the class numbers alone."""
    shape = (len(real.classes) * images_per_class, *real.image_shape)
    return torch.randn(shape, generator=generator, device=generator.device)


INITIALISERS: dict[str, Initialise] = {"noise": noise, "real": real_images}
