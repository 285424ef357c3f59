"""Pseudo-random orthonormal images with the spectrum of photographs, made from a seed."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from core_distill.networks.random_signs import random_signs

_BLOCK = 1024
"""Frequencies that are mixed with each other; it bounds what the basis of large images takes."""

_MOST_COMPRESSION = 64
_SEEDS = 2**63

_LONGEST_SIDE = 2048
"""Cosines of a side are a matrix of that size."""


@final
@dataclass(frozen=True)
class SmoothBasis:
    """`image = sum_k coefficient_k * basis_k`, for about `1 / compression` as many coefficients as values of an image.

    A basis image is a sum of cosines with random signs, whose amplitude falls with the frequency `f` along the sides as
    `(1 + f)^-smoothness`: 0 is white noise, and 1 is about what photographs have. Together they are made orthonormal, and
    mixed so that all coefficients are alike. The frequencies are dealt to blocks of at most 1,024 with a basis each.

    The signs are the same bits everywhere; what is made of them, on the CPU and in double precision, differs between
    machines by rounding.

    Args:
        image_shape: `(c, *sides)`.

    Raises `ValueError` for values out of range.
    """

    image_shape: tuple[int, ...]
    compression: int
    smoothness: float
    seed: int

    def __post_init__(self) -> None:
        whole = (*self.image_shape, self.compression, self.seed)
        if any(type(number) is not int for number in whole):
            raise ValueError(f"the shape, compression and basis_seed are whole numbers, got {whole}")
        if not self.image_shape or min(self.image_shape) < 1 or max(self.image_shape[1:], default=1) > _LONGEST_SIDE:
            raise ValueError(f"images need sides from 1 to {_LONGEST_SIDE}, got shape {self.image_shape}")
        most = min(_MOST_COMPRESSION, math.prod(self.image_shape) // self._num_blocks)
        if not 1 <= self.compression <= most:
            raise ValueError(f"compression must lie in 1..{most} for images {self.image_shape}, got {self.compression}")
        if not 0 <= self.smoothness <= 10:
            raise ValueError(f"smoothness must lie in [0, 10], got {self.smoothness}")
        if not 0 <= self.seed < _SEEDS:
            raise ValueError(f"basis_seed must lie in 0..2**63 - 1, got {self.seed}")

    @property
    def num_coefficients(self) -> int:
        """How many numbers an image takes."""
        size, larger = divmod(math.prod(self.image_shape), self._num_blocks)
        return larger * ((size + 1) // self.compression) + (self._num_blocks - larger) * (size // self.compression)

    def build(self, device: torch.device) -> "BasisImages":
        """The basis, ready to use on `device`."""
        squares = _squared_frequencies(self.image_shape)
        order = squares.argsort(stable=True)
        blocks = [order[number :: self._num_blocks] for number in range(self._num_blocks)]
        mixtures = [self._mixtures(number, squares[block]) for number, block in enumerate(blocks)]
        return BasisImages(
            image_shape=self.image_shape,
            mixtures=[mixture.to(device, torch.float32) for mixture in mixtures],
            places=torch.cat(blocks).argsort().to(device),
            cosines=[_cosines(side).to(device, torch.float32) for side in self.image_shape[1:]],
        )

    @property
    def _num_blocks(self) -> int:
        return -(-math.prod(self.image_shape) // _BLOCK)

    def _mixtures(self, number: int, squares: Tensor) -> Tensor:
        """Orthonormal rows `(m, f)` over one block's frequencies."""
        size, count = len(squares), len(squares) // self.compression
        signs = random_signs(count, size, self.seed, "images", number).double()
        amplitudes = (1 + squares.double().sqrt()) ** -self.smoothness
        rows = torch.linalg.qr((signs * amplitudes).T).Q.T
        flips = random_signs(1, count, self.seed, "mixed", number).double()
        mixed: Tensor = (_cosines(count) * flips) @ rows
        return mixed


@final
@dataclass(frozen=True)
class BasisImages:
    """A built basis: `mixtures (m, f)` of each block's frequencies, the `places` of frequencies among blocks, `cosines`."""

    image_shape: tuple[int, ...]
    mixtures: list[Tensor]
    places: Tensor
    cosines: list[Tensor]

    @property
    def device(self) -> torch.device:
        return self.places.device

    def combine(self, coefficients: Tensor) -> Tensor:
        """The images `(n, *image_shape)` of coefficients `(n, m)`."""
        parts = coefficients.split([len(mixture) for mixture in self.mixtures], dim=1)
        dealt = torch.cat([part @ mixture for part, mixture in zip(parts, self.mixtures, strict=True)], dim=1)
        spectra = dealt.index_select(1, self.places).view(len(dealt), *self.image_shape)
        return _along_sides(spectra, self.cosines)

    def project(self, images: Tensor) -> Tensor:
        """The coefficients `(n, m)` of the images nearest to `images (n, *image_shape)`."""
        spectra = _along_sides(images, [matrix.T for matrix in self.cosines]).flatten(1)
        dealt = spectra.index_select(1, self.places.argsort()).split([mix.shape[1] for mix in self.mixtures], dim=1)
        return torch.cat([part @ mixture.T for part, mixture in zip(dealt, self.mixtures, strict=True)], dim=1)


def _squared_frequencies(image_shape: tuple[int, ...]) -> Tensor:
    """The squared frequency of each value of a spectrum, int64 and flat; channels have none."""
    total = torch.zeros(image_shape, dtype=torch.int64)
    for axis, side in enumerate(image_shape[1:], start=1):
        shape = [side if place == axis else 1 for place in range(len(image_shape))]
        total = total + (torch.arange(side) ** 2).view(shape)
    return total.flatten()


def _cosines(side: int) -> Tensor:
    """The orthonormal cosine transform `(side, side)`, float64: row `f` is the wave of frequency `f`."""
    frequency, place = torch.arange(side).double().unsqueeze(1), torch.arange(side).double()
    waves = torch.cos(math.pi / side * frequency * (place + 0.5)) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves


def _along_sides(values: Tensor, matrices: list[Tensor]) -> Tensor:
    """`values (n, c, *sides)` with each side `f` replaced by `sum_f value_f * matrix[f]`."""
    changed: Tensor = values
    for axis, matrix in enumerate(matrices, start=2):
        changed = (changed.movedim(axis, -1) @ matrix).movedim(-1, axis)
    return changed
