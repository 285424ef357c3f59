"""LeNet-5 with ReLU and max pooling: the small old network in cross-architecture tables."""

from typing import final

from torch import Tensor, nn

from core_distill.networks.activations import activations
from core_distill.networks.shapes import image_sides

_SMALLEST_SIDE = 32


@final
class LeNet(nn.Module):
    """Two 5x5 convolutions with 2x2 max pooling, then layers of 120 and 84; images `(n, *image_shape)` of any size.

    A side below 32 is padded with zeros up to 32 (33 where it is odd), as LeNet-5 does with 28x28 digits; the first
    linear layer is as large as larger images need. Source: LeCun et al. 1998, as in the official DC code (ReLU, max
    pooling).
    """

    def __init__(self, image_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        channels, *sides = image_sides(image_shape, "LeNet")
        padding = [max(0, _SMALLEST_SIDE + 1 - side) // 2 for side in sides]
        height, width = (((side + 2 * pad - 4) // 2 - 4) // 2 for side, pad in zip(sides, padding, strict=True))
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=(padding[0], padding[1])),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * height * width, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(84, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The layer of 84 after its ReLU, `(n, 84)`."""
        hidden: Tensor = self.layers(images)
        return hidden

    def layer_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Both convolutions' maps before pooling, `(n, channels, rows, columns)`, then the layers of 120 and 84."""
        return activations(self.layers, images)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
