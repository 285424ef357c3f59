"""How learned images are stored: float32, float16, or 256 levels a tensor, which cost what a real image costs."""

from collections.abc import Mapping

import torch
from torch import Tensor

_STORED_AS = {"float16": torch.float16, "float32": torch.float32, "uint8": torch.uint8}
PRECISIONS = tuple(_STORED_AS)
_RANGE = ".range"
_SMALLEST = 1e-300
_WHOLE = (torch.uint8, torch.int16, torch.int32, torch.int64)


def check_precision(precision: str) -> None:
    """Raise `ValueError`, listing the known ones, for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")


def encode_tensors(state: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """The tensors to write: `images.*` at `precision`, class numbers in as few bytes as hold them, the rest as float32.

    `uint8` stores `round((x - low) / (high - low) * 255)` and a float32 tensor `NAME.range = [low, high]`. Encoding what
    was decoded gives the same bytes. Raises `ValueError` for an unknown precision.
    """
    check_precision(precision)
    encoded: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.contiguous().clone()
        if value.dtype == torch.int64:
            encoded[name] = _narrowed(value)
        elif not name.startswith("images.") or precision == "float32":
            encoded[name] = value.float()
        elif precision == "float16":
            encoded[name] = value.half()
        else:
            limits = torch.stack([value.min(), value.max()]).float() + 0.0  # which leaves no negative zero
            low, high = limits.double()
            levels = (value.double() - low) / (high - low).clamp(min=_SMALLEST) * 255
            encoded[name] = levels.round().clamp(0, 255).to(torch.uint8)
            encoded[name + _RANGE] = limits
    return encoded


def decode_tensors(stored: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Undo `encode_tensors`: image tensors come back as float32, class numbers as int64.

    Raises `ValueError` where a tensor is not of the dtype that `precision` says, or its range is missing.
    """
    check_precision(precision)
    ranges: set[str] = set()
    if precision == "uint8":
        ranges = {name + _RANGE for name in stored if not name.endswith(_RANGE)} & set(stored)
    decoded: dict[str, Tensor] = {}
    for name, value in stored.items():
        if name in ranges:
            continue
        if name + _RANGE in ranges:
            decoded[name] = _from_levels(name, value, stored[name + _RANGE])
        elif value.dtype in _WHOLE:
            decoded[name] = value.long()
        elif value.dtype == (_STORED_AS[precision] if name.startswith("images.") else torch.float32):
            decoded[name] = value.float()
        else:
            raise ValueError(f"{name} is {value.dtype}, which files at precision {precision} do not hold there")
    return decoded


def _from_levels(name: str, levels: Tensor, limits: Tensor) -> Tensor:
    """Both ends come back exactly, so that encoding again finds the same range."""
    ordered = limits.shape == (2,) and limits.dtype == torch.float32 and bool(limits[0] <= limits[1])
    if not ordered or levels.dtype != torch.uint8 or not name.startswith("images."):
        raise ValueError(
            f"{name} must be uint8 levels of images, and {name + _RANGE} two float32 numbers, smaller first"
        )
    low, high = limits.double()
    share = levels.double() / 255
    values: Tensor = low * (1 - share) + high * share
    return values.float()


def _narrowed(numbers: Tensor) -> Tensor:
    """Whole numbers in the narrowest type that holds them all."""
    low, high = (int(numbers.min()), int(numbers.max())) if numbers.numel() else (0, 0)
    for dtype in _WHOLE:
        limits = torch.iinfo(dtype)
        if limits.min <= low and high <= limits.max:
            return numbers.to(dtype)
    raise AssertionError("int64 holds every int64")
