"""AutoAugment and RandAugment for training on small sets; here because they need torchvision's operations on images."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Generator, Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms import functional as images_of
from torchvision.transforms.functional import InterpolationMode

from core_distill.randomness import host_integers


class Change(NamedTuple):
    """An operation, its probability, and its level from 0 to 1; those that have a direction go either way."""

    operation: str
    probability: float
    level: float


@final
@dataclass(frozen=True, eq=False)
class ImagePolicy:
    """Each image draws one of `choices` and undergoes its changes one after the other, on bytes.

    Args:
        operations: the name, for the record.
        mean, std: what images are normalised with, `(c,)`, on their device.

    Images of 1 or 3 channels; what lies outside 0 to 1 before normalising is cut off. The reference code of DC-BENCH
    draws once for a whole mini-batch.
    """

    operations: tuple[str, ...]
    choices: tuple[tuple[Change, ...], ...]
    mean: Tensor
    std: Tensor

    def per_image(self, images: Tensor, generator: Generator) -> Tensor:
        """`images (n, c, h, w)`, normalised, each changed by a draw of its own; no gradient flows back.

        Raises `ValueError` for other shapes, and other numbers of channels.
        """
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"{self.operations[0]} changes images (n, c, h, w) of 1 or 3 channels, got {tuple(images.shape)}"
            )
        mean, std = (value.view(-1, 1, 1) for value in (self.mean, self.std))
        pixels = ((images.detach() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
        changed = self._change(pixels, generator)
        return (changed.to(images.dtype) / 255 - mean) / std

    def _change(self, pixels: Tensor, generator: Generator) -> Tensor:
        count, places = len(pixels), max(len(changes) for changes in self.choices)
        chosen = host_integers(len(self.choices), count, generator, "policy")
        backwards = host_integers(2, places * count, generator, "sign").view(places, count).bool()
        chances = torch.rand(places, count, generator=generator, device=generator.device)
        for number, changes in enumerate(self.choices):
            for place, change in enumerate(changes):
                for sign in (1, -1) if change.operation in _SIGNED else (1,):
                    goes = chosen == number
                    if change.operation in _SIGNED:
                        goes = goes & (backwards[place] == (sign < 0))
                    rows = goes.nonzero().flatten().to(pixels.device, non_blocking=True)
                    if len(rows):
                        before = pixels.index_select(0, rows)
                        after = apply_operation(before, change.operation, sign * change.level)
                        happens = chances[place].index_select(0, rows) < change.probability
                        after = torch.where(happens[:, None, None, None], after, before)
                        pixels = pixels.index_copy(0, rows, after)
        return pixels


def autoaugment(mean: Tensor, std: Tensor) -> ImagePolicy:
    """AutoAugment's policy for CIFAR-10 (arXiv 1805.09501), as torchvision has it."""
    policies = AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    choices = tuple(tuple(Change(name, chance, (level or 0) / 9) for name, chance, level in pair) for pair in policies)
    return ImagePolicy(("autoaugment",), choices, mean, std)


def randaugment(mean: Tensor, std: Tensor) -> ImagePolicy:
    """RandAugment (arXiv 1909.13719) with one operation an image, as in DC-BENCH, of torchvision's usual magnitude."""
    choices = tuple((Change(name, 1.0, 9 / 30),) for name in OPERATIONS if name != "Invert")
    return ImagePolicy(("randaugment",), choices, mean, std)


def apply_operation(pixels: Tensor, operation: str, level: float) -> Tensor:
    """uint8 `pixels (n, c, h, w)` under one of `OPERATIONS` at a level from -1 to 1, with torchvision's ranges."""
    return OPERATIONS[operation](pixels, level)


def _sheared(pixels: Tensor, across: float, down: float) -> Tensor:
    shear = [math.degrees(math.atan(0.3 * across)), math.degrees(math.atan(0.3 * down))]
    sheared: Tensor = images_of.affine(pixels, 0.0, [0, 0], 1.0, shear, InterpolationMode.NEAREST, center=[0, 0])
    return sheared


def _moved(pixels: Tensor, across: float, down: float) -> Tensor:
    height, width = pixels.shape[2:]
    shift = [int(across * width * 150 / 331), int(down * height * 150 / 331)]
    moved: Tensor = images_of.affine(pixels, 0.0, shift, 1.0, [0.0, 0.0], InterpolationMode.NEAREST)
    return moved


OPERATIONS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "Identity": lambda pixels, level: pixels,
    "ShearX": lambda pixels, level: _sheared(pixels, level, 0),
    "ShearY": lambda pixels, level: _sheared(pixels, 0, level),
    "TranslateX": lambda pixels, level: _moved(pixels, level, 0),
    "TranslateY": lambda pixels, level: _moved(pixels, 0, level),
    "Rotate": lambda pixels, level: images_of.rotate(pixels, 30 * level, InterpolationMode.NEAREST),
    "Brightness": lambda pixels, level: images_of.adjust_brightness(pixels, 1 + 0.9 * level),
    "Color": lambda pixels, level: images_of.adjust_saturation(pixels, 1 + 0.9 * level),
    "Contrast": lambda pixels, level: images_of.adjust_contrast(pixels, 1 + 0.9 * level),
    "Sharpness": lambda pixels, level: images_of.adjust_sharpness(pixels, 1 + 0.9 * level),
    "Posterize": lambda pixels, level: images_of.posterize(pixels, 8 - round(4 * level)),
    "Solarize": lambda pixels, level: images_of.solarize(pixels, 255 * (1 - level)),
    "AutoContrast": lambda pixels, level: images_of.autocontrast(pixels),
    "Equalize": lambda pixels, level: images_of.equalize(pixels),
    "Invert": lambda pixels, level: images_of.invert(pixels),
}
"""By torchvision's names; the ranges of AutoAugment's table 6."""

_SIGNED = (
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
)
