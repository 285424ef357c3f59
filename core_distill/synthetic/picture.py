"""The picture of a set: a grid with one row a class, as a PNG."""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core_distill.synthetic.synthetic_set import SyntheticSet

COLUMNS = 20
"""Images a class that a picture shows unless it is asked for more."""

_GAP = 2
_CHANNELS = (1, 3)
_LEAST_SIDE = 32
_MARGIN = 0.05
_MANY = 0.01


def has_picture(synthetic: SyntheticSet) -> bool:
    """Whether the set holds grey or colour images, which `picture` can show: no texts, and no other channels."""
    shape = synthetic.batch().images.shape
    return len(shape) == 4 and shape[1] in _CHANNELS


@torch.no_grad()
def picture(
    synthetic: SyntheticSet, *, columns: int = COLUMNS, unwhiten: Callable[[Tensor], Tensor] | None = None
) -> bytes:
    """A PNG of at most `columns` images a class, in the data's own colours, values outside 0 to 1 clipped.

    `unwhiten` makes pixels of whitened images, as `Whitening.undo` does. Small images are enlarged by whole factors.
    Raises `ValueError` where the set has no picture, see `has_picture`.
    """
    rows = _rows(synthetic, unwhiten)[:, :columns]
    factor = max(1, math.ceil(_LEAST_SIDE / min(rows.shape[3:])))
    rows = rows.repeat_interleave(factor, 3).repeat_interleave(factor, 4)
    grid = _grid(rows.clamp(0, 1).mul(255).round().to(torch.uint8))
    pixels = grid.squeeze(0) if len(grid) == 1 else grid.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.cpu().numpy())).save(file, format="PNG", optimize=True)
    return file.getvalue()


@torch.no_grad()
def not_shown(
    synthetic: SyntheticSet, *, columns: int = COLUMNS, unwhiten: Callable[[Tensor], Tensor] | None = None
) -> list[str]:
    """What `picture` of the same arguments does not show, in words: images beyond the columns, values that it clips.

    Values count from a twentieth outside 0 to 1, where they are one in a hundred or more. Raises what `picture` raises.
    """
    rows = _rows(synthetic, unwhiten)
    told = []
    if rows.shape[1] > columns:
        told.append(f"the first {columns} of {rows.shape[1]} images a class")
    outside = ((rows < -_MARGIN) | (rows > 1 + _MARGIN)).float().mean().item()
    if outside >= _MANY:
        told.append(
            f"values from 0 to 1, clipped: {outside:.0%} are learned beyond that, {rows.min():.2g} to {rows.max():.2g}"
        )
    return told


def _rows(synthetic: SyntheticSet, unwhiten: Callable[[Tensor], Tensor] | None) -> Tensor:
    """`(k, n, c, h, w)`, in the data's own values."""
    if not has_picture(synthetic):
        shape = tuple(synthetic.batch().images.shape[1:])
        raise ValueError(f"only grey or colour images have a picture, these are {shape}")
    images = synthetic.as_dataset().images
    images = images if unwhiten is None else unwhiten(images)
    rows: Tensor = images.unflatten(0, (len(synthetic.classes), -1))
    return rows


def _grid(rows: Tensor) -> Tensor:
    """`(k, n, c, h, w)` uint8 to one `(c, H, W)` on white, with a gap around every image."""
    k, n, channels, height, width = rows.shape
    grid = rows.new_full((channels, _GAP + k * (height + _GAP), _GAP + n * (width + _GAP)), 255)
    for row in range(k):
        for column in range(n):
            top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
            grid[:, top : top + height, left : left + width] = rows[row, column]
    return grid
