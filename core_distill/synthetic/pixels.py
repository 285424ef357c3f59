"""The plainest parametrisation: every pixel of every image is learned."""

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from core_distill.synthetic.start import Start


class Pixels(nn.Module):
    """Learned images, one a slot: `pixels (slots, *shape)`, normalised floats."""

    looks_at_data: ClassVar[bool] = False

    views = 1

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.pixels = nn.Parameter(images.detach().clone())

    @property
    def num_slots(self) -> int:
        return len(self.pixels)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return tuple(self.pixels.shape[1:])

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, as `(n, *shape)`."""
        return self.pixels[slots]

    def config(self) -> dict[str, object]:
        return {"shape": list(self.pixels.shape)}

    def of_slots(self, tensors: Mapping[str, Tensor]) -> Self:
        """Images like these whose slots are `tensors`, named as in `state_dict()`."""
        return type(self)(tensors["pixels"])

    @classmethod
    def starting_at(cls, start: Start) -> Self:
        """As many images as the budget says."""
        return cls(start.draw(start.images_per_class))

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...]) -> int:
        """One: itself."""
        return 1

    @classmethod
    def from_config(cls, *, shape: list[int]) -> Self:
        """An empty one of the given shape, to load a state into."""
        return cls(torch.empty(shape))
