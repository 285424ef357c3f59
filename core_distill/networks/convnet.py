"""The network of most distillation papers: ConvNet-3, mostly of width 128 with instance norm."""

import math
from typing import final

from torch import Tensor, nn

from core_distill.networks.activations import activations
from core_distill.networks.norms import NormLayer, instance_norm
from core_distill.networks.shapes import check_width, image_sides


@final
class ConvNet(nn.Module):
    """`depth` blocks of 3x3 convolution, norm, ReLU and 2x2 average pooling, then one linear layer.

    Images `(n, *image_shape)` of any height and width, grey or colour, become logits `(n, num_classes)`. The first
    convolution pads with zeros until each side is a multiple of `2**depth` (one row or column more where the missing
    number is odd), so 28 becomes 32 and pooling loses no pixel. The official DC code pads grey images by 3 whatever
    their size, and colour ones by 1; at 1x28x28 and 3x32x32 the two rules agree (317,706 and 320,010 parameters with
    10 classes).

    Args:
        width: channels of the first block.
        depth: blocks; 0 fits the image as the field does: 3 for sides around 32, one more with each doubling, and 2 below 24,
            so that the last maps keep about four pixels a side.
        widening: how many times as many channels each block has as the one before: 1 in most papers; FRePo's and RCIG's codes
            widen by 2, to 128, 256 and 512.
        norm: the normalisation after each convolution.

    Source: Gidaris and Komodakis, arXiv 1804.09458; as used by DC, arXiv 2006.05929.
    Raises `ValueError` for a side below `2**depth`, and a width or widening below 1.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        *,
        width: int = 128,
        depth: int = 0,
        widening: int = 1,
        norm: NormLayer = instance_norm,
    ) -> None:
        super().__init__()
        check_width(width, "ConvNet")
        if widening < 1:
            raise ValueError(f"widening must be at least 1, got {widening}; 1 gives every block the same width")
        channels, *sides = image_sides(image_shape, "ConvNet")
        depth = depth or _fitting_depth(min(sides))
        _check_depth(sides, depth)
        padding = [_first_padding(side, depth) for side in sides]
        blocks: list[nn.Module] = []
        for block in range(depth):
            wide = width * widening**block
            around = padding if block == 0 else [1, 1]
            convolution = nn.Conv2d(channels, wide, 3, padding=(around[0], around[1]))
            blocks += [convolution, norm(wide), nn.ReLU(), nn.AvgPool2d(2)]
            channels = wide
        self.blocks = nn.Sequential(*blocks)
        height, columns = ((side + 2 * pad - 2) // 2**depth for side, pad in zip(sides, padding, strict=True))
        self.classifier = nn.Linear(channels * height * columns, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The last block's maps, flattened: `(n, its channels * rows * columns)`."""
        maps: Tensor = self.blocks(images)
        return maps.flatten(1)

    def layer_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Each block's maps before pooling, `(n, channels, rows, columns)`, and the last ones pooled: `depth + 1` of them."""
        return activations(self.blocks, images)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _fitting_depth(side: int) -> int:
    """The depth whose last maps have about four pixels a side, at least 2 where the image allows it."""
    return max(1, min(side.bit_length() - 1, max(2, round(math.log2(side / 4)))))


def _first_padding(side: int, depth: int) -> int:
    """What to pad on both ends so that a 3x3 convolution gives at least the next multiple of `2**depth`."""
    missing = -side % (1 << depth)
    return 1 + (missing + 1) // 2


def _check_depth(sides: list[int], depth: int) -> None:
    deepest = min(sides).bit_length() - 1
    if depth < 1 or depth > deepest:
        height, width = sides
        cure = f"use a depth from 1 to {deepest}" if deepest else "use MLP, or larger images"
        raise ValueError(f"ConvNet of depth {depth} does not fit images of {height}x{width}: {cure}")
