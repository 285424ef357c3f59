"""Images at another size, for parametrisations that store less than they show.

Bilinear interpolation is two products with small matrices here: the backward pass of PyTorch's own has no deterministic form
on CUDA.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """`images (..., h, w)` at `size`, bilinear, as `F.interpolate` with `align_corners=False`; the same size is exact."""
    rows, columns = (_weights(images, side, dim) for side, dim in zip(size, (-2, -1), strict=True))
    return rows.T @ images @ columns


def shrunk(images: Tensor, size: tuple[int, int]) -> Tensor:
    """`images (n, c, h, w)` at a `size` that is no larger: each pixel the mean of those it covers."""
    return F.adaptive_avg_pool2d(images, size)


def _weights(images: Tensor, side: int, dim: int) -> Tensor:
    """What each of the old pixels along `dim` gives each of the new, `(old, new)`."""
    same = torch.eye(images.shape[dim], dtype=images.dtype, device=images.device)
    return F.interpolate(same.unsqueeze(0), size=side, mode="linear", align_corners=False).squeeze(0)
