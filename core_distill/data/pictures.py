"""Turning pictures of the Python imaging library into one uint8 tensor, grey only where all of them are."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_GREY = frozenset({"1", "L", "LA"})
_DEEP = ("I", "F")


def picture_values(picture: Image.Image, name: str) -> Tensor:
    """The pixels of one picture, uint8, `(1, h, w)` where its mode is grey and `(3, h, w)` otherwise; alpha is dropped.

    Raises `ValueError`, with `name`, for more than 8 bits a channel: reducing them needs a choice that is not ours.
    """
    if picture.mode.startswith(_DEEP):
        raise ValueError(f"{name} has more than 8 bits a channel (mode {picture.mode}): convert it to 8 bits first")
    if picture.mode in _GREY:
        return torch.from_numpy(np.array(picture.convert("L"))).unsqueeze(0)
    return torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0)


def stack_pictures(values: Iterable[tuple[str, Tensor]]) -> Tensor:
    """All `(name, (1 or 3, h, w))` as one tensor `(n, c, h, w)`; grey ones become RGB where any is in colour.

    Raises `ValueError`, naming the first two that differ, where heights and widths are not all the same.
    """
    named = list(values)
    first_name, first = named[0]
    for name, value in named:
        if value.shape[-2:] != first.shape[-2:]:
            raise ValueError(
                f"images have different sizes: {first_name} is {_size(first)} and {name} is {_size(value)} "
                "(width x height); resize them to one size first"
            )
    channels = max(len(value) for _, value in named)
    return torch.stack([value.expand(channels, -1, -1) for _, value in named])


def _size(value: Tensor) -> str:
    height, width = value.shape[-2:]
    return f"{width}x{height}"
