"""A short name for the content of tensors."""

import hashlib

from torch import Tensor

_LENGTH = 16


def content_digest(*tensors: Tensor) -> str:
    """The first 16 hexadecimal digits of sha256 over types, shapes and bytes of the tensors, in the order given."""
    content = hashlib.sha256()
    for tensor in tensors:
        values = tensor.detach().cpu().contiguous().numpy()
        content.update(f"{values.dtype} {values.shape}".encode())
        content.update(values.reshape(-1).view("uint8").data)
    return content.hexdigest()[:_LENGTH]
