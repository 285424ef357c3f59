"""ResNet-18 for small images: the deep network in cross-architecture tables."""

from typing import final

from torch import Tensor, nn

from core_distill.networks.norms import NormLayer, batch_norm
from core_distill.networks.shapes import check_width, image_sides

_STEM = 3
"""Layers before the first stage."""

_BLOCKS_OF_A_STAGE = 2


@final
class ResNet18(nn.Module):
    """ResNet-18 with a 3x3 stem and no max pooling; images `(n, *image_shape)` of any size, grey or colour.

    Four stages of two basic blocks; each after the first halves both sides. 11,173,962 parameters for 3 channels and 10
    classes.

    Args:
        width: channels of the first stage; each further one has twice as many.
        norm: the normalisation after each convolution.

    Source: He et al., arXiv 1512.03385, section 4.2, in the form usual for CIFAR-10.
    Raises `ValueError` for images so small that a norm per channel and image would see single values and erase them.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        num_classes: int,
        *,
        width: int = 64,
        norm: NormLayer = batch_norm,
    ) -> None:
        super().__init__()
        check_width(width, "ResNet18")
        channels, height, columns = image_sides(image_shape, "ResNet18")
        stem = norm(width)
        if isinstance(stem, nn.GroupNorm) and stem.num_groups == width and max(height, columns) <= 8:
            raise ValueError(
                f"ResNet18 shrinks images of {height}x{columns} to one pixel, which instance norm turns into a "
                "constant: use batch_norm, group_norm or no_norm, or a side above 8"
            )
        blocks: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False), stem, nn.ReLU()]
        inputs = width
        for stage in range(4):
            outputs = width * 2**stage
            blocks += [_BasicBlock(inputs, outputs, stride=2 if stage else 1, norm=norm)]
            blocks += [_BasicBlock(outputs, outputs, stride=1, norm=norm)]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The last stage's maps averaged over pixels, `(n, 8 * width)`."""
        maps: Tensor = self.blocks(images)
        return maps.mean(dim=(2, 3))

    def layer_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps after each of the four stages, `(n, channels, rows, columns)`, and the last ones averaged over pixels."""
        found, maps = [], self.blocks[:_STEM](images)
        for start in range(_STEM, len(self.blocks), _BLOCKS_OF_A_STAGE):
            maps = self.blocks[start : start + _BLOCKS_OF_A_STAGE](maps)
            found.append(maps)
        return *found, maps.mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits


@final
class _BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, norm: NormLayer) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
            norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            norm(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)).append(norm(outputs))
        self.activation = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        summed: Tensor = self.activation(self.residual(maps) + self.shortcut(maps))
        return summed
