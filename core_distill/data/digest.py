"""A short name for the content of tensors."""

import hashlib

import numpy as np
from torch import Tensor

from core_distill.data.mapped import Images, chunks_of

_LENGTH = 16


class ContentDigest:
    """A digest of tensors that come piece by piece: each is announced, then its values are added in their order."""

    def __init__(self) -> None:
        self._content = hashlib.sha256()

    def begin(self, tensor: Images) -> None:
        """Announce a tensor: its type and shape are part of the content."""
        self._content.update(f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}".encode())

    def add(self, piece: Tensor) -> None:
        """The next values of the tensor announced last."""
        self._content.update(_values(piece).reshape(-1).view("uint8").data)

    def name(self) -> str:
        """Of everything so far."""
        return self._content.hexdigest()[:_LENGTH]


def content_digest(*tensors: Images) -> str:
    """The first 16 hexadecimal digits of sha256 over types, shapes and bytes of the tensors, in the order given.

    Images on disk are read piece by piece and have the name they would have in memory.
    """
    content = ContentDigest()
    for tensor in tensors:
        content.begin(tensor)
        for piece in chunks_of(tensor):
            content.add(piece)
    return content.name()


def _values(piece: Tensor) -> np.ndarray:
    values: np.ndarray = piece.detach().cpu().contiguous().numpy()
    return values
