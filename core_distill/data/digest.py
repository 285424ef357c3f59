"""A short name for the content of tensors."""

import hashlib

import numpy as np
from torch import Tensor

from core_distill.data.mapped import Images, chunks_of

_LENGTH = 16


def content_digest(*tensors: Images) -> str:
    """The first 16 hexadecimal digits of sha256 over types, shapes and bytes of the tensors, in the order given.

    Images on disk are read piece by piece and have the name they would have in memory.
    """
    content = hashlib.sha256()
    for tensor in tensors:
        header = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        content.update(header.encode())
        for piece in chunks_of(tensor):
            content.update(_values(piece).reshape(-1).view("uint8").data)
    return content.hexdigest()[:_LENGTH]


def _values(piece: Tensor) -> np.ndarray:
    values: np.ndarray = piece.detach().cpu().contiguous().numpy()
    return values
