"""What has to look at every pixel, made to look at the same pieces: data on disk, which may not fit into memory, is read once."""

from collections.abc import Iterable, Iterator
from typing import final

import torch
from torch import Tensor

from core_distill.data.digest import ContentDigest
from core_distill.data.mapped import Images, MappedImages, chunks_of

_AT_ONCE = 1 << 16
"""Numbers that statistics are taken of at once, in double precision: they stay in a processor's cache. Pieces of 64 MB, made
anew each time, took ten times as long."""


def read_once(
    parts: Iterable[tuple[str, Images, Tensor]], seen: "ChannelStatistics | None" = None, rows: Tensor | None = None
) -> str:
    """The digest of named parts, images and labels in turn, and `rows` (int64) of the first part's images added to `seen`.

    Raises `ValueError`, naming the part, for NaN or infinite values.
    """
    content = ContentDigest()
    for number, (name, images, labels) in enumerate(parts):
        finite, start = _Finite(images), 0
        content.begin(images)
        wanted = torch.zeros(len(images), dtype=torch.bool)
        if number == 0 and rows is not None:
            wanted[rows] = True
        for piece in chunks_of(images):
            finite.add(piece)
            content.add(piece)
            if seen is not None and number == 0:
                seen.add(piece[wanted[start : start + len(piece)].to(piece.device)])
            start += len(piece)
        try:
            finite.check()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        content.begin(labels)
        content.add(labels)
    return content.name()


def check_finite(images: Images) -> None:
    """Raise `ValueError` for NaN or infinite values; images on disk that passed once are not read again."""
    if isinstance(images, MappedImages) and images.known_finite:
        return
    finite = _Finite(images)
    for piece in chunks_of(images):
        finite.add(piece)
    finite.check()


class _Finite:
    """Which of some images hold nothing but finite values, found piece by piece."""

    def __init__(self, images: Images) -> None:
        self._images, self._rows = images, list[Tensor]()

    def add(self, piece: Tensor) -> None:
        if piece.is_floating_point():
            self._rows.append(torch.isfinite(piece).flatten(1).all(1))

    def check(self) -> None:
        """Raise `ValueError` where one does not; else images on disk remember it."""
        finite = torch.cat(self._rows) if self._rows else torch.ones(0, dtype=torch.bool)
        if not finite.all():
            first = int((~finite).nonzero()[0])
            raise ValueError(f"image {first} holds NaN or infinite values; {int((~finite).sum())} of {len(finite)} do")
        if isinstance(self._images, MappedImages):
            self._images.known_finite = True


@final
class ChannelStatistics:
    """Mean and standard deviation of each channel of images `(n, c, ...)` that are added piece by piece.

    Sums of distances from the mean of the first images, in double precision: one look is enough, and a constant channel has
    the deviation 0 exactly.
    """

    def __init__(self) -> None:
        self._count = 0
        self._start: Tensor | None = None
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self._scale = 1

    def add(self, images: Tensor) -> None:
        """Take some more into account; uint8 counts as 0 to 1."""
        self._scale = 255 if images.dtype == torch.uint8 else 1
        for values in _channels_first(images):
            if self._start is None or self._sum is None or self._squares is None:
                self._start = values.mean(1)
                self._sum, self._squares = torch.zeros_like(self._start), torch.zeros_like(self._start)
            away = values - self._start.unsqueeze(1)
            self._sum += away.sum(1)
            self._squares += torch.linalg.vecdot(away, away)
            self._count += away.shape[1]

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, float64 `(c,)`; a constant channel gets the deviation 1, so that it can be divided by.

        Raises `ValueError` where nothing was added.
        """
        if self._start is None or self._sum is None or self._squares is None:
            raise ValueError("no images were added")
        shift = self._sum / self._count
        mean = self._start + shift
        std = (self._squares / self._count - shift.square()).clamp(min=0).sqrt()
        return mean / self._scale, torch.where(std > 1e-8 * mean.abs(), std / self._scale, 1)


def _channels_first(images: Tensor) -> Iterator[Tensor]:
    """Pieces of `images (n, c, ...)` as float64 `(c, m)`."""
    size = max(1, min(1024, _AT_ONCE // images.shape[1:].numel()))
    for start in range(0, len(images), size):
        yield images[start : start + size].movedim(1, 0).flatten(1).double()
