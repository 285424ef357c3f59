"""The six image operations of DSA as pure functions, each with the distribution its parameters are drawn from.

Images are `(g, m, c, h, w)`: `g` rows of `m` images, and one set of parameters a row, tensors `(g,)`. A class of a
grouped batch is one row; a flat batch under one change is one row; images changed one by one are rows of one. Pixels
from outside an image are 0, which is the mean of normalised data. Height and width may differ: sizes and shifts follow
each side.

Moved pixels are read with `gather` rather than `grid_sample`, whose backward pass on CUDA has no deterministic form and
whose second derivative is missing. On a CPU that takes longer, but little beside the network.

Source: Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation", arXiv 2102.08259; values of its
official code.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

_LARGEST_SCALE = 1.2
_LARGEST_ANGLE = 15.0
_LARGEST_SHIFT = 0.125
_CUTOUT_SIZE = 0.5


def color(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Add `brightness`, then scale each pixel about its mean over channels, then each image about its mean."""
    images = images + _over(images, brightness)
    grey = images.mean(dim=2, keepdim=True)
    images = (images - grey) * _over(images, saturation) + grey
    mean = images.mean(dim=(2, 3, 4), keepdim=True)
    return (images - mean) * _over(images, contrast) + mean


def crop(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """The window `down` rows and `right` columns (integers) from the image's own place, of the image's size."""
    rows, columns = _pixel_grid(images)
    return _read(images, rows + down[:, None, None], columns + right[:, None, None])


def cutout(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Zeros in a rectangle of half the sides whose first row is `top` and first column `left`; it may reach outside."""
    height, width = images.shape[-2:]
    rows, columns = _pixel_grid(images)
    rows, columns = rows - top[:, None, None], columns - left[:, None, None]
    cut = (rows >= 0) & (rows < _rounded(height, _CUTOUT_SIZE)) & (columns >= 0)
    cut = cut & (columns < _rounded(width, _CUTOUT_SIZE))
    return images.masked_fill(cut[:, None, None], 0)


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Left and right swapped in the rows where `flipped` (bool)."""
    return torch.where(flipped[:, None, None, None, None], images.flip(-1), images)


def scale(images: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Read at `vertical` and `horizontal` times the distance from the centre: a factor above 1 shrinks what is seen."""
    rows, columns, centre = _centred_grid(images, vertical)
    return _interpolate(
        images,
        rows * vertical[:, None, None] + centre[0],
        columns * horizontal[:, None, None] + centre[1],
    )


def rotate(images: Tensor, angles: Tensor) -> Tensor:
    """Turned about the centre by `angles` in degrees, counter-clockwise as seen on screen for positive ones."""
    rows, columns, centre = _centred_grid(images, angles)
    radians = (angles * (math.pi / 180))[:, None, None]
    cosine, sine = radians.cos(), radians.sin()
    return _interpolate(
        images,
        rows * cosine + columns * sine + centre[0],
        columns * cosine - rows * sine + centre[1],
    )


class Operation(NamedTuple):
    """`draw(rows, height, width, generator)` gives the parameters that `apply(images, *parameters)` takes."""

    draw: Callable[[int, int, int, Generator], tuple[Tensor, ...]]
    apply: Callable[..., Tensor]


def _draw_color(rows: int, height: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    return _uniform(-0.5, 0.5, rows, generator), _uniform(0, 2, rows, generator), _uniform(0.5, 1.5, rows, generator)


def _draw_crop(rows: int, height: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    down, right = _rounded(height, _LARGEST_SHIFT), _rounded(width, _LARGEST_SHIFT)
    return _integers(-down, down, rows, generator), _integers(-right, right, rows, generator)


def _draw_cutout(rows: int, height: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    """The rectangle's middle is anywhere in the image, so up to half of each side is cut off by the border."""
    starts = []
    for side in (height, width):
        size = _rounded(side, _CUTOUT_SIZE)
        starts.append(_integers(-(size // 2), side - size % 2 - size // 2, rows, generator))
    return tuple(starts)


def _draw_flip(rows: int, height: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    return (_uniform(0, 1, rows, generator) < 0.5,)


def _draw_scale(rows: int, height: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    smallest = 1 / _LARGEST_SCALE
    return _uniform(smallest, _LARGEST_SCALE, rows, generator), _uniform(smallest, _LARGEST_SCALE, rows, generator)


def _draw_rotate(rows: int, height: int, width: int, generator: Generator) -> tuple[Tensor, ...]:
    return (_uniform(-_LARGEST_ANGLE, _LARGEST_ANGLE, rows, generator),)


OPERATIONS: dict[str, Operation] = {
    "color": Operation(_draw_color, color),
    "crop": Operation(_draw_crop, crop),
    "cutout": Operation(_draw_cutout, cutout),
    "flip": Operation(_draw_flip, flip),
    "scale": Operation(_draw_scale, scale),
    "rotate": Operation(_draw_rotate, rotate),
}
"""All operations by the names DSA gives them."""


def _uniform(low: float, high: float, count: int, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator, device=generator.device) * (high - low) + low


def _integers(lowest: int, highest: int, count: int, generator: Generator) -> Tensor:
    """Both ends may be drawn."""
    return torch.randint(lowest, highest + 1, (count,), generator=generator, device=generator.device)


def _rounded(side: int, share: float) -> int:
    """The nearest whole number of pixels, halves up."""
    return int(side * share + 0.5)


def _over(images: Tensor, values: Tensor) -> Tensor:
    """`values (g,)` so that they broadcast over `images (g, m, c, h, w)`, in the images' precision."""
    return values.to(images.dtype)[:, None, None, None, None]


def _pixel_grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """The row numbers `(h, 1)` and column numbers `(1, w)` of an image."""
    height, width = images.shape[-2:]
    return (
        torch.arange(height, device=images.device)[:, None],
        torch.arange(width, device=images.device)[None, :],
    )


def _centred_grid(images: Tensor, like: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """`_pixel_grid` as distances from the centre, in the precision of `like`, and the centre."""
    height, width = images.shape[-2:]
    centre = ((height - 1) / 2, (width - 1) / 2)
    rows, columns = _pixel_grid(images)
    return rows.to(like.dtype) - centre[0], columns.to(like.dtype) - centre[1], centre


def _read(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at whole positions `rows` and `columns`, both broadcastable to `(g, h, w)`; 0 outside."""
    groups, members, channels, height, width = images.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = (rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)).flatten(1)
    pixels = images.reshape(groups, members * channels, height * width)
    found = pixels.gather(2, index[:, None].expand(-1, members * channels, -1))
    return found.view(images.shape).masked_fill(~inside[:, None, None], 0)


def _interpolate(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear interpolation at real positions, both broadcastable to `(g, h, w)`; 0 outside.

    Two pixels of zeros around the images stand for all that is outside: what is further away is read there.
    """
    groups, members, channels, height, width = images.shape
    top, left = rows.floor().clamp(-2, height), columns.floor().clamp(-2, width)
    stride = width + 4
    first = ((top + 2) * stride + left + 2).long().expand(groups, height, width).flatten(1)
    pixels = F.pad(images, (2, 2, 2, 2)).reshape(groups, members * channels, (height + 4) * stride)

    def corner(shift: int) -> Tensor:
        return pixels.gather(2, (first + shift)[:, None].expand(-1, members * channels, -1)).view(images.shape)

    def share(positions: Tensor, start: Tensor) -> Tensor:
        return (positions - start).clamp(0, 1).to(images.dtype)[:, None, None]

    across, along = share(columns, left), share(rows, top)
    upper = torch.lerp(corner(0), corner(1), across.expand_as(images))
    lower = torch.lerp(corner(stride), corner(stride + 1), across.expand_as(images))
    return torch.lerp(upper, lower, along.expand_as(images))
