"""Images as coefficients of pseudo-random images: what is stored is a few numbers an image and a seed (PRANC)."""

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from core_distill.synthetic.budget import check_counts
from core_distill.synthetic.smooth_basis import BasisImages, SmoothBasis
from core_distill.synthetic.start import Start


class RandomBasis(nn.Module):
    """Learned `coefficients (slots, m)` of the images of a `SmoothBasis`, after PRANC (arXiv 2206.08464).

    The basis is made anew from its seed, so an image costs `m` values, `1 / compression` of its pixels, and as many bytes
    hold `compression` times as many images. The basis is orthonormal: gradients are those of pixels, seen from within a
    subspace, and rates for pixels fit.

    Raises `ValueError` for coefficients of another number than the basis has images.
    """

    views = 1
    looks_at_data: ClassVar[bool] = False

    def __init__(self, coefficients: Tensor, basis: SmoothBasis) -> None:
        super().__init__()
        if coefficients.dim() != 2 or coefficients.shape[1] != basis.num_coefficients:
            raise ValueError(f"coefficients must be (slots, {basis.num_coefficients}), got {tuple(coefficients.shape)}")
        self.coefficients = nn.Parameter(coefficients.detach().clone())
        self.basis = basis
        self._built = _Built(basis)

    @property
    def num_slots(self) -> int:
        return len(self.coefficients)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.basis.image_shape

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, as `(n, *image_shape)`."""
        return self._built.on(self.coefficients.device).combine(self.coefficients[slots])

    def config(self) -> dict[str, object]:
        basis = self.basis
        return {
            "slots": self.num_slots,
            "image_shape": list(basis.image_shape),
            "compression": basis.compression,
            "smoothness": basis.smoothness,
            "basis_seed": basis.seed,
        }

    def of_slots(self, tensors: Mapping[str, Tensor]) -> Self:
        """Images like these whose slots are `tensors`, named as in `state_dict()`; the basis is built once for both."""
        made = type(self)(tensors["coefficients"], self.basis)
        made._built = self._built
        return made

    @classmethod
    def starting_at(cls, start: Start, *, compression: int = 2, smoothness: float = 1.0, basis_seed: int = 0) -> Self:
        """More images than the budget says, each the nearest to a drawn one that the basis has.

        Args:
            compression: how many times as many as images that are stored whole.
            smoothness: of the basis, see `SmoothBasis`; 0 is white noise.
            basis_seed: of the basis's random numbers.
        """
        basis = SmoothBasis(start.real.image_shape, compression, smoothness, basis_seed)
        images = start.draw(start.images_per_class * compression)
        return cls(basis.build(images.device).project(images), basis)

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...], *, compression: int) -> int:
        """As many as have its bytes."""
        check_counts(compression=compression)
        return compression

    @classmethod
    def from_config(
        cls, *, slots: int, image_shape: list[int], compression: int, smoothness: float, basis_seed: int
    ) -> Self:
        """An empty one of the given size, to load a state into."""
        check_counts(slots=slots)
        basis = SmoothBasis(tuple(image_shape), compression, smoothness, basis_seed)
        return cls(torch.empty(slots, basis.num_coefficients), basis)


class _Built:
    """The images of a basis on one device, made when they are first asked for and kept for all who share this."""

    def __init__(self, basis: SmoothBasis) -> None:
        self._basis = basis
        self._images: BasisImages | None = None

    def on(self, device: torch.device) -> BasisImages:
        if self._images is None or self._images.device != device:
            self._images = self._basis.build(device)
        return self._images
