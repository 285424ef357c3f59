"""Reading idx files, the format of MNIST and Fashion-MNIST, and checking them before anything is believed."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """The uint8 tensor in an idx file, plain or (by its `.gz` ending) gzipped.

    The format: two zero bytes, a type (0x08 is unsigned byte), the number of dimensions, each dimension as a big-endian
    32-bit number, then the values. Raises `ValueError`, naming the file, where it cannot be read or does not match.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): fetch the file again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise ValueError(
            f"{path} is not an idx file of unsigned bytes: it starts with {content[:4].hex() or 'nothing'}"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path} is cut off in its header: {len(content)} of {start} bytes; fetch the file again")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(
            f"{path} claims shape {shape}, {math.prod(shape)} values, but holds {len(content) - start}: "
            "fetch the file again"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def read_idx_images(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Grey images `(n, 1, h, w)` uint8 and labels `(n,)` int64 from a pair of idx files; `ValueError` as `read_idx`."""
    pixels, numbers = read_idx(images), read_idx(labels)
    if pixels.dim() != 3 or numbers.dim() != 1 or len(pixels) != len(numbers):
        raise ValueError(
            f"{images} and {labels} do not belong together: images (n, h, w) and labels (n,) are needed, "
            f"got {tuple(pixels.shape)} and {tuple(numbers.shape)}"
        )
    return pixels.unsqueeze(1), numbers.long()
