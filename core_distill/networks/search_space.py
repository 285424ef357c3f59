"""A small space of convolutional networks, in which it can be seen whether a set ranks architectures as real data does."""

import functools
import itertools
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from core_distill.networks.convnet import ConvNet
from core_distill.networks.initialise import Architecture
from core_distill.networks.norms import NORMS, NormLayer, instance_norm


@final
class MaxPoolConvNet(nn.Module):
    """`ConvNet` with maxima in the place of averages; the same arguments, shapes and errors."""

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        *,
        width: int = 128,
        depth: int = 0,
        norm: NormLayer = instance_norm,
    ) -> None:
        super().__init__()
        inner = ConvNet(image_shape, num_classes, width=width, depth=depth, norm=norm)
        layers = (nn.MaxPool2d(2) if isinstance(layer, nn.AvgPool2d) else layer for layer in inner.blocks)
        self.blocks, self.classifier = nn.Sequential(*layers), inner.classifier

    def features(self, images: Tensor) -> Tensor:
        """The last block's maps, flattened: `(n, width * rows * columns)`."""
        maps: Tensor = self.blocks(images)
        return maps.flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits


def search_space(
    *,
    widths: Sequence[int] = (16, 64),
    depths: Sequence[int] = (2, 3),
    norms: Sequence[str] = ("instance", "none"),
    poolings: Sequence[str] = ("average", "maximum"),
) -> dict[str, Architecture]:
    """Every combination, by a name such as `width 16, depth 2, norm none, pooling maximum`; the usual space has 16.

    Raises `ValueError` for an unknown norm or pooling.
    """
    unknown = [*(set(norms) - set(NORMS)), *(set(poolings) - set(_POOLINGS))]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no norm ({', '.join(NORMS)}) and no pooling ({', '.join(_POOLINGS)})")
    return {
        f"width {width}, depth {depth}, norm {norm}, pooling {pooling}": functools.partial(
            _POOLINGS[pooling], width=width, depth=depth, norm=NORMS[norm]
        )
        for width, depth, norm, pooling in itertools.product(widths, depths, norms, poolings)
    }


_POOLINGS: dict[str, type[nn.Module]] = {"average": ConvNet, "maximum": MaxPoolConvNet}
