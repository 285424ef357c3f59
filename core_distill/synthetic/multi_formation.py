"""Several small images in the place of one: neighbouring pixels say much the same, so fewer of them will do."""

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from core_distill.synthetic.budget import check_counts, check_growth, image_sides
from core_distill.synthetic.resizing import resized, shrunk
from core_distill.synthetic.start import Start

_WHAT = "multi-formed sets"


class MultiFormation(nn.Module):
    """Uniform multi-formation (IDC, arXiv 2205.14959, section 4.1): each stored image is cut into `factor` x `factor` parts,
    and each part, enlarged to the full size, is an image of its own.

    Stored `pixels (slots, c, h, w)`, so a slot costs what an image costs and gives `factor ** 2` views. Sides that `factor`
    does not divide are cut into parts that differ by a pixel, the larger first; the released code pads them with grey. With
    `factor` 1 these are pixels.

    Raises `ValueError` for a factor out of range.
    """

    looks_at_data: ClassVar[bool] = False

    def __init__(self, images: Tensor, *, factor: int) -> None:
        super().__init__()
        check_factor(factor, image_sides(tuple(images.shape[1:]), "multi-formed sets"))
        check_growth(images.numel(), factor**2 * images.numel())
        self.pixels = nn.Parameter(images.detach().clone())
        self.factor, self.views = factor, factor**2

    @property
    def num_slots(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.pixels.shape[1:])

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The parts of each image, row by row, at its full size: `(n * factor ** 2, c, h, w)`."""
        height, width = self.pixels.shape[2:]
        parts = [
            resized(part, (height, width))
            for row in self.pixels[slots].tensor_split(self.factor, 2)
            for part in row.tensor_split(self.factor, 3)
        ]
        return torch.stack(parts, 1).flatten(0, 1)

    def config(self) -> dict[str, object]:
        return {"shape": list(self.pixels.shape), "factor": self.factor}

    def of_slots(self, tensors: Mapping[str, Tensor]) -> Self:
        """Images like these whose slots are `tensors`, named as in `state_dict()`."""
        return type(self)(tensors["pixels"], factor=self.factor)

    @classmethod
    def starting_at(cls, start: Start, *, factor: int = 2) -> Self:
        """As many stored images as the budget says, made of `factor ** 2` times as many drawn ones, each shrunk to a part.

        Args:
            factor: parts a side that each is cut into.
        """
        channels, height, width = image_sides(start.real.image_shape, _WHAT)
        check_factor(factor, (channels, height, width))
        drawn = start.draw(factor**2 * start.images_per_class).unflatten(0, (-1, factor**2))
        sides = [[len(part) for part in torch.arange(side).tensor_split(factor)] for side in (height, width)]
        rows = [
            torch.cat([shrunk(drawn[:, factor * i + j], (h, w)) for j, w in enumerate(sides[1])], 3)
            for i, h in enumerate(sides[0])
        ]
        return cls(torch.cat(rows, 2), factor=factor)

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...], *, factor: int) -> int:
        """All that is cut out of one."""
        check_factor(factor, image_sides(image_shape, _WHAT))
        return factor**2

    @classmethod
    def from_config(cls, *, shape: list[int], factor: int) -> Self:
        """An empty one of the given size, to load a state into."""
        return cls(torch.empty(shape), factor=factor)


def check_factor(factor: int, image_shape: tuple[int, int, int]) -> None:
    """Raise `ValueError` unless images of `image_shape` can be cut into `factor` parts a side."""
    check_counts(factor=factor)
    most = min(image_shape[1:])
    if factor > most:
        raise ValueError(f"factor must lie in 1..{most} for images of {image_shape}, got {factor}")
