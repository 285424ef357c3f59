"""A few bases that all classes share, and for each image how much of each: what classes have in common is stored once."""

import math
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from core_distill.synthetic.budget import budget_of, check_counts, check_growth, image_sides
from core_distill.synthetic.low_rank import factorised
from core_distill.synthetic.resizing import resized, shrunk
from core_distill.synthetic.start import Start

_WHAT = "addressable memories"


class AddressableMemory(nn.Module):
    """Images as sums of shared bases (LinBa; Deng and Russakovsky, arXiv 2206.02916, section 3.2).

    Stored `bases (bases, c, rows, columns)`, smaller than an image by a factor, and `coefficients (slots, bases)`; their
    product is enlarged to `size`. Another image costs no more than `bases` numbers, so a class has as many slots as the budget
    pays for after the bases.
    """

    looks_at_data: ClassVar[bool] = False
    views = 1

    def __init__(self, bases: Tensor, coefficients: Tensor, *, size: tuple[int, int]) -> None:
        super().__init__()
        image_sides(tuple(bases.shape[1:]), "addressable memories")
        height, width = size
        check_counts(height=height, width=width)
        if coefficients.dim() != 2 or coefficients.shape[1] != len(bases):
            raise ValueError(f"coefficients must be (slots, {len(bases)}), got {tuple(coefficients.shape)}")
        stored = bases.numel() + coefficients.numel()
        check_growth(stored, len(coefficients) * bases.shape[1] * height * width)
        self.bases = nn.Parameter(bases.detach().clone())
        self.coefficients = nn.Parameter(coefficients.detach().clone())
        self.size = (height, width)

    @property
    def num_slots(self) -> int:
        return len(self.coefficients)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.bases.shape[1], *self.size)

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, as `(n, c, h, w)`."""
        small = self.coefficients[slots] @ self.bases.flatten(1)
        return resized(small.unflatten(1, self.bases.shape[1:]), self.size)

    def config(self) -> dict[str, object]:
        return {"slots": self.num_slots, "shape": list(self.bases.shape), "size": list(self.size)}

    @classmethod
    def starting_at(cls, start: Start, *, bases: int = 16, downscale: int = 2, xavier: bool = False) -> Self:
        """Bases smaller than images by `downscale` a side, and as many slots as the budget pays for.

        They start at the drawn images' principal components, uncentred.

        Args:
            bases: how many of them all classes share.
            downscale: how many times smaller than an image's a side of them is.
            xavier: they start at the paper's small uniform numbers instead, that have seen nothing and need very many steps.

        Raises `ValueError` where the budget pays for no slot.
        """
        channels, height, width = image_sides(start.real.image_shape, _WHAT)
        check_counts(bases=bases, downscale=downscale)
        shape = (channels, math.ceil(height / downscale), math.ceil(width / downscale))
        count = _slots_a_class(start, bases, bases * math.prod(shape))
        slots, values = count * len(start.real.classes), math.prod(shape)
        vectors, coefficients = _xavier(start, bases, values), _xavier(start, slots, bases)
        if not xavier:
            components = min(bases, slots, values)
            left, right = factorised(shrunk(start.draw(count), shape[1:]).flatten(1), components)
            vectors[:components] = right
            coefficients.zero_()[:, :components] = left
        return cls(vectors.unflatten(1, shape), coefficients, size=(height, width))

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...], *, bases: int) -> int:
        """As many as have its bytes in coefficients, rounded up."""
        check_counts(bases=bases)
        return math.ceil(math.prod(image_sides(image_shape, _WHAT)) / bases)

    @classmethod
    def from_config(cls, *, slots: int, shape: list[int], size: list[int]) -> Self:
        """An empty one of the given size, to load a state into."""
        height, width = size
        bases = torch.empty(shape)
        return cls(bases, torch.empty(slots, len(bases)), size=(height, width))


def _slots_a_class(start: Start, bases: int, stored: int) -> int:
    """What `bases` that take `stored` bytes leave of the budget."""
    classes, budget = len(start.real.classes), budget_of(start)
    count = (budget - stored) // (classes * bases)
    if count < 1:
        raise ValueError(
            f"{bases} bases take {stored:,} of the budget's {budget:,} bytes, and an image of each class {classes * bases:,} "
            "more: use fewer bases, a larger downscale, or more images_per_class for as many bases"
        )
    return count


def _xavier(start: Start, rows: int, columns: int) -> Tensor:
    """Uniform numbers within `sqrt(6 / (rows + columns))` (Glorot and Bengio, 2010, equation 16), `(rows, columns)`."""
    uniform = torch.rand(rows, columns, generator=start.generator, device=start.generator.device)
    return (2 * uniform - 1) * math.sqrt(6 / (rows + columns))
