"""The picture of a set: a grid with one row a class, as a PNG."""

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from core_distill.synthetic.synthetic_set import SyntheticSet

_GAP = 2
_LEAST_SIDE = 32


@torch.no_grad()
def picture(synthetic: SyntheticSet, *, columns: int = 20, unwhiten: Callable[[Tensor], Tensor] | None = None) -> bytes:
    """A PNG of at most `columns` images a class, in the data's own colours, values outside 0 to 1 clipped.

    `unwhiten` makes pixels of whitened images, as `Whitening.undo` does. Small images are enlarged by whole factors.
    Raises `ValueError` where the set holds no `(c, h, w)` images.
    """
    images = synthetic.as_dataset().images
    images = images if unwhiten is None else unwhiten(images)
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"only grey or colour images have a picture, these are {tuple(images.shape[1:])}")
    rows = images.unflatten(0, (len(synthetic.classes), -1))[:, :columns]
    factor = max(1, math.ceil(_LEAST_SIDE / min(images.shape[2:])))
    rows = rows.repeat_interleave(factor, 3).repeat_interleave(factor, 4)
    grid = _grid(rows.clamp(0, 1).mul(255).round().to(torch.uint8))
    pixels = grid.squeeze(0) if len(grid) == 1 else grid.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.cpu().numpy())).save(file, format="PNG", optimize=True)
    return file.getvalue()


def _grid(rows: Tensor) -> Tensor:
    """`(k, n, c, h, w)` uint8 to one `(c, H, W)` on white, with a gap around every image."""
    k, n, channels, height, width = rows.shape
    grid = rows.new_full((channels, _GAP + k * (height + _GAP), _GAP + n * (width + _GAP)), 255)
    for row in range(k):
        for column in range(n):
            top, left = _GAP + row * (height + _GAP), _GAP + column * (width + _GAP)
            grid[:, top : top + height, left : left + width] = rows[row, column]
    return grid
