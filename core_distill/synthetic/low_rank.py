"""Images as products of two thin matrices: a row and a column of an image say much of what is between."""

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from core_distill.synthetic.budget import check_counts, check_growth, image_sides
from core_distill.synthetic.start import Start

_WHAT = "low-rank sets"


class LowRank(nn.Module):
    """Each channel of an image is the product of two matrices of `rank` columns and rows (Yang et al., "An Efficient Dataset
    Condensation Plugin and Its Application to Continual Learning", NeurIPS 2023, section 3.2).

    Stored `left (slots, c, h, rank)` and `right (slots, c, rank, w)`: a slot costs `rank * (h + w) / (h * w)` of an image, so
    as many more fit the budget. Of rank 2, seven images of 28 x 28 for one.
    """

    looks_at_data: ClassVar[bool] = False
    views = 1

    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__()
        slots, channels, height, rank = left.shape
        if right.shape[:3] != (slots, channels, rank):
            raise ValueError(f"left {tuple(left.shape)} and right {tuple(right.shape)} cannot be multiplied")
        check_growth(left.numel() + right.numel(), slots * channels * height * right.shape[3])
        self.left, self.right = nn.Parameter(left.detach().clone()), nn.Parameter(right.detach().clone())

    @property
    def num_slots(self) -> int:
        return len(self.left)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (*self.left.shape[1:3], self.right.shape[3])

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, as `(n, c, h, w)`."""
        return self.left[slots] @ self.right[slots]

    def config(self) -> dict[str, object]:
        return {"shape": [*self.left.shape[:3], self.right.shape[3]], "rank": self.left.shape[3]}

    def of_slots(self, tensors: Mapping[str, Tensor]) -> Self:
        """Images like these whose slots are `tensors`, named as in `state_dict()`."""
        return type(self)(tensors["left"], tensors["right"])

    @classmethod
    def starting_at(cls, start: Start, *, rank: int = 2) -> Self:
        """As many images as the budget pays for, each the best approximation of that rank to a drawn one.

        The released code starts at two matrices of normal noise.

        Args:
            rank: of an image, a channel each.

        Raises `ValueError` for a rank so high that fewer fit than pixels would.
        """
        _, height, width = image_sides(start.real.image_shape, _WHAT)
        check_counts(rank=rank)
        count = start.images_per_class * height * width // (rank * (height + width))
        if rank > min(height, width) or count < start.images_per_class:
            raise ValueError(
                f"rank {rank} stores more than images of {height}x{width} have: use a rank of at most "
                f"{height * width // (height + width)}, or pixels"
            )
        return cls(*factorised(start.draw(count), rank))

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...], *, rank: int) -> int:
        """As many as have its bytes, rounded up."""
        _, height, width = image_sides(image_shape, _WHAT)
        check_counts(rank=rank)
        return math.ceil(height * width / (rank * (height + width)))

    @classmethod
    def from_config(cls, *, shape: list[int], rank: int) -> Self:
        """An empty one of the given size, to load a state into."""
        slots, channels, height, width = shape
        return cls(torch.empty(slots, channels, height, rank), torch.empty(slots, channels, rank, width))


def factorised(matrices: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """`(..., h, rank)` and `(..., rank, w)` whose product is nearest to `matrices (..., h, w)`; singular values are shared.

    Source: Eckart and Young, 1936.
    """
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    share = values[..., :rank].sqrt()
    return left[..., :rank] * share.unsqueeze(-2), share.unsqueeze(-1) * right[..., :rank, :]
