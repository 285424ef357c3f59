"""What parametrisations may cost and claim: bytes at the start, sizes and decoded values from a file."""

import math

from core_distill.synthetic.start import Start

_MOST_GROWTH = 1024
"""Values that one stored value may be decoded to, where there are more than `_ALWAYS_ALLOWED`."""

_ALWAYS_ALLOWED = 2**24
"""Decoded values that no file is refused for: 64 MiB as float32."""


def budget_of(start: Start) -> int:
    """Bytes that the images of all classes may cost: `images_per_class` real ones a class, a byte a value."""
    return len(start.real.classes) * start.images_per_class * math.prod(start.real.image_shape)


def image_sides(shape: tuple[int, ...], what: str) -> tuple[int, int, int]:
    """Channels, height and width of `shape`; `ValueError` where it is no image's."""
    if len(shape) != 3:
        raise ValueError(f"{what} are made of images (c, h, w), not of {tuple(shape)}: use pixels")
    channels, height, width = shape
    return channels, height, width


def check_counts(**counts: object) -> None:
    """Raise `ValueError` unless all are whole numbers from 1 up: a file may claim anything."""
    wrong = {name: value for name, value in counts.items() if type(value) is not int or value < 1}
    if wrong:
        told = ", ".join(f"{name} cannot be {value!r}" for name, value in wrong.items())
        raise ValueError(f"{told}: whole numbers from 1 up")


def check_growth(stored: int, decoded: int) -> None:
    """Raise `ValueError` where `stored` values become far more `decoded` ones, so that a small file cannot fill the memory."""
    if decoded > max(_ALWAYS_ALLOWED, _MOST_GROWTH * stored):
        raise ValueError(
            f"{stored:,} stored values would be decoded to {decoded:,}, more than {_MOST_GROWTH} times as many: store more "
            "values an image, or make fewer images"
        )
