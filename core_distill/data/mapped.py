"""Images that stay on disk: an array mapped into memory, read row by row as batches ask for it."""

from collections.abc import Iterator
from typing import final

import numpy as np
import torch
from torch import Tensor

_CHUNK_BYTES = 8 << 20
"""How much is read at once where every image is visited."""


@final
class MappedImages:
    """Rows of an array on disk, in an order of their own; indexed like a tensor, it reads what is asked for and no more.

    ```python
    images = MappedImages(np.load("images.npy", mmap_mode="r"))
    images[torch.tensor([[5, 0], [7, 7]])].shape  # (2, 2, c, h, w)
    ```
    Rows are read in the file's order whatever the order they are asked for in. An index on a CUDA device has to come to
    the host first: each batch waits for the card once.

    Args:
        array: `(n, c, ...)` uint8 or float32, usually from `np.load(..., mmap_mode="r")`.
        rows: which rows of it, and in which order, int64 `(m,)`; all of them by default.
        device: where what is read is put.

    Attributes: `known_finite`, whether no value is NaN or infinite for certain: uint8, or looked through once.

    Raises `ValueError` for another type of numbers.
    """

    def __init__(self, array: np.ndarray, rows: Tensor | None = None, *, device: torch.device | str = "cpu") -> None:
        if array.dtype not in (np.uint8, np.float32):
            raise ValueError(f"mapped images must be uint8 or float32, got {array.dtype}; convert the file first")
        self._array = array.view(np.ndarray)
        self._rows = torch.arange(len(array)) if rows is None else rows.detach().to("cpu", torch.int64)
        self.device = torch.device(device)
        self.dtype = torch.uint8 if array.dtype == np.uint8 else torch.float32
        self.shape = torch.Size((len(self._rows), *array.shape[1:]))
        self.known_finite = self.dtype == torch.uint8

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: Tensor | slice) -> Tensor:
        """The images at positions `chosen`, `(*chosen.shape, c, ...)`."""
        positions = self._rows[chosen if isinstance(chosen, slice) else chosen.cpu()]
        ascending = positions.flatten().sort()
        read = torch.from_numpy(self._array[ascending.values.numpy()]).to(self.device)
        back = ascending.indices.argsort().to(self.device)
        return read[back].view(*positions.shape, *self.shape[1:])

    def select(self, indices: Tensor) -> "MappedImages":
        """The images at `indices (m,)` alone, still on disk."""
        return self._like(self._rows[indices.cpu()], self.device)

    def to(self, device: torch.device | str) -> "MappedImages":
        """The same file, read onto another device."""
        return self._like(self._rows, device)

    def chunks(self) -> Iterator[Tensor]:
        """All images in their order, some megabytes at a time."""
        bytes_an_image = max(1, self._array.itemsize * self._array[:1].size)
        size = max(1, _CHUNK_BYTES // bytes_an_image)
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def _like(self, rows: Tensor, device: torch.device | str) -> "MappedImages":
        images = MappedImages(self._array, rows, device=device)
        images.known_finite = self.known_finite
        return images


Images = Tensor | MappedImages
"""Images in memory or on disk."""


def select(images: Images, indices: Tensor) -> Images:
    """The images at `indices (m,)`: a copy in memory, or fewer rows of the same file."""
    return images.select(indices) if isinstance(images, MappedImages) else images[indices]


def chunks_of(images: Images) -> Iterator[Tensor]:
    """Images in pieces: one piece in memory, some megabytes at a time from disk."""
    return images.chunks() if isinstance(images, MappedImages) else iter((images,))
