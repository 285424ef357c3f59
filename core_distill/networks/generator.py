"""A small conditional generator of images and its opponent, for images that are learned as latent vectors."""

import itertools
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core_distill.networks.norms import group_norm
from core_distill.networks.shapes import check_width, image_sides

_SMALLEST_SIDE = 4


@final
class ConvGenerator(nn.Module):
    """Latent vectors and class rows to images, after DCGAN (arXiv 1511.06434) with group norm and nearest doubling.

    A linear layer makes maps of at most 4 pixels on the short side, `2 * width` of them; each doubling is followed by a 3x3
    convolution, the last of half the width. Values lie between `low` and `high (c,)`, which are kept with the parameters.

    Raises `ValueError` for shapes that are no images and for sizes below 1.
    """

    low: Tensor
    high: Tensor

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, *, latent: int = 32, width: int = 32) -> None:
        super().__init__()
        channels, height, columns = image_sides(image_shape, "ConvGenerator")
        check_width(width, "ConvGenerator")
        if latent < 1 or num_classes < 1:
            raise ValueError(f"latents and classes are at least 1, got {latent} and {num_classes}")
        self.image_shape = (channels, height, columns)
        self.latent, self.num_classes, self.width = latent, num_classes, width
        self._sides = doubled_sides(height, columns)
        stages = len(self._sides) - 1
        widths = [2 * width, *[width] * (stages - 1), max(1, width // 2)] if stages else [2 * width]
        self._start = (widths[0], *self._sides[0])
        self.first = nn.Linear(latent + num_classes, torch.Size(self._start).numel())
        pairs = itertools.pairwise(widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inside, out, 3, padding=1), group_norm(out), nn.ReLU()) for inside, out in pairs
        )
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)
        self.register_buffer("low", torch.zeros(channels))
        self.register_buffer("high", torch.ones(channels))

    def forward(self, latents: Tensor, rows: Tensor) -> Tensor:
        """Images `(n, *image_shape)` of `latents (n, latent)`; `rows (n,)` are positions among the classes, int64."""
        chosen = rows.unsqueeze(1) == torch.arange(self.num_classes, device=rows.device)
        maps = F.relu(self.first(torch.cat([latents, chosen.to(latents.dtype)], dim=1))).unflatten(1, self._start)
        for block, (height, width) in zip(self.blocks, self._sides[1:], strict=True):
            maps = block(maps.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width])
        low, high = (value.view(-1, 1, 1) for value in (self.low, self.high))
        images: Tensor = low + (high - low) * self.last(maps).sigmoid()
        return images


@final
class ConvDiscriminator(nn.Module):
    """How real an image of a class looks: strided convolutions, then a score for each class, of which one is taken."""

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, *, width: int = 32) -> None:
        super().__init__()
        channels, height, columns = image_sides(image_shape, "ConvDiscriminator")
        check_width(width, "ConvDiscriminator")
        sides = doubled_sides(height, columns)
        widths = [channels, width, *[2 * width] * (len(sides) - 2)][: len(sides)]
        layers: list[nn.Module] = []
        for inside, out in itertools.pairwise(widths):
            layers += [nn.Conv2d(inside, out, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.maps = nn.Sequential(*layers)
        self.scores = nn.Linear(widths[-1] * torch.Size(sides[0]).numel(), num_classes)

    def forward(self, images: Tensor, rows: Tensor) -> Tensor:
        """Scores `(n,)` of `images (n, *image_shape)` as members of the classes at positions `rows (n,)`."""
        scores: Tensor = self.scores(self.maps(images).flatten(1))
        return scores.gather(1, rows.unsqueeze(1)).squeeze(1)


def doubled_sides(height: int, width: int) -> list[tuple[int, int]]:
    """Sides of maps from the smallest to `(height, width)`: each is half the next one, rounded up."""
    sides = [(height, width)]
    while min(sides[0]) > _SMALLEST_SIDE:
        sides.insert(0, (-(-sides[0][0] // 2), -(-sides[0][1] // 2)))
    return sides
