"""Four `.npy` files in a folder: how data that does not fit into memory comes in."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core_distill.data.mapped import MappedImages
from core_distill.data.splits import Examples

_PARTS = ("train", "test")
FILES = tuple(f"{part}_{what}.npy" for part in _PARTS for what in ("images", "labels"))
"""What such a folder holds: images `(n, c, ...)` uint8 or float32, and labels `(n,)`, whole numbers from 0 up."""

_COLOURS = (1, 3)


def holds_arrays(folder: Path) -> bool:
    """Whether any of the four files is there."""
    return any((folder / name).is_file() for name in FILES)


def read_arrays(folder: Path) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Train set, test set and class names (the numbers up to the highest label); the images stay on disk.

    Raises `ValueError`, naming the file, where one is missing, cut off, not a plain array, of another type of numbers or
    of another shape, or where images and labels differ in number.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}: all of {', '.join(FILES)} are needed")
    train, test = (_read_part(folder, part) for part in _PARTS)
    highest = max(int(labels.max()) for _, labels in (train, test))
    if highest >= len(train.labels) + len(test.labels):
        raise ValueError(f"labels go up to {highest}, with fewer images than that: number the classes from 0 up")
    return train, test, tuple(str(number) for number in range(highest + 1))


def _read_part(folder: Path, part: str) -> Examples:
    images_path, labels_path = (folder / f"{part}_{what}.npy" for what in ("images", "labels"))
    images, labels = _open(images_path), _open(labels_path)
    _check_images(images_path, images)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise ValueError(
            f"{labels_path} must hold {len(images)} whole numbers, one for each image of {images_path.name}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    return Examples(MappedImages(images), _in_memory(labels))


def _open(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f"{path} is not a whole .npy file of numbers ({error}): write it again with numpy.save, or "
            "numpy.lib.format.open_memmap"
        ) from error
    return array


def _check_images(path: Path, images: np.ndarray) -> None:
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"{path} must hold uint8 or float32, got {images.dtype}: convert it, for example to uint8")
    if images.ndim < 2 or not images.size:
        raise ValueError(f"{path} must have the shape (n, c, ...) with at least one of each, got {images.shape}")
    if images.ndim == 4 and images.shape[3] in _COLOURS and images.shape[1] not in _COLOURS:
        raise ValueError(
            f"{path} has the shape {images.shape}, colours last: save it as (n, c, h, w), "
            "numpy.ascontiguousarray(numpy.moveaxis(images, 3, 1))"
        )


def _in_memory(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(labels, dtype=np.int64))
