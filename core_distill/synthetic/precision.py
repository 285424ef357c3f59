"""How learned images are stored: float32, float16, or 256 levels a tensor, which cost what a real image costs."""

from collections.abc import Mapping

import torch
from torch import Tensor

PRECISIONS = ("float16", "float32", "uint8")
_RANGE = ".range"
_WHOLE = (torch.uint8, torch.int16, torch.int32, torch.int64)


def encode_tensors(state: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The tensors to write: `images.*` at `precision`, class numbers in as few bytes as hold them, the rest as it is.

    `uint8` stores `round((x - low) / (high - low) * 255)` and a float32 tensor `NAME.range = [low, high]`. Encoding what
    was decoded gives the same bytes. Raises `ValueError` for an unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    encoded: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.contiguous().clone()
        if value.dtype == torch.int64:
            encoded[name] = _narrowed(value)
        elif not (name.startswith("images.") and value.is_floating_point()) or precision == "float32":
            encoded[name] = value
        elif precision == "float16":
            encoded[name] = value.half()
        else:
            low, high = value.min().double(), value.max().double()
            levels = (value.double() - low) / (high - low).clamp(min=1e-30) * 255
            encoded[name] = levels.round().to(torch.uint8)
            encoded[name + _RANGE] = torch.stack([low, high]).float()
    return encoded


def decode_tensors(stored: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Undo `encode_tensors`: image tensors come back as float32, class numbers as int64.

    Raises `ValueError` where a tensor is not of the dtype that `precision` says, or its range is missing.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    decoded: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name.endswith(_RANGE):
            continue
        if precision == "float16" and value.dtype == torch.float16:
            value = value.float()
        elif precision == "uint8" and value.dtype == torch.uint8 and name.startswith("images."):
            limits = stored[name + _RANGE]
            if limits.shape != (2,) or limits.dtype != torch.float32 or not limits[0] <= limits[1]:
                raise ValueError(f"{name + _RANGE} must hold two float32 numbers, the smaller first")
            low, high = limits.double()
            value = (low + value.double() / 255 * (high - low)).float()
        elif value.dtype in _WHOLE:
            value = value.long()
        decoded[name] = value
    return decoded


def _narrowed(numbers: Tensor) -> Tensor:
    """Whole numbers in the narrowest type that holds them all."""
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.numel() else (0, 0)
    for dtype in _WHOLE:
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return numbers.to(dtype)
    raise AssertionError("int64 holds every int64")
