"""The plainest network: it takes inputs of any shape, also vectors and sequences."""

import itertools
import math
from collections.abc import Sequence
from typing import final

from torch import Tensor, nn

from core_distill.networks.activations import activations


@final
class MLP(nn.Module):
    """Linear layers with ReLU between them: flattened inputs `(n, *image_shape)` become logits `(n, num_classes)`.

    Args:
        hidden: widths of the hidden layers; none gives a linear classifier.

    Source of the default: the MLP of the official DC code (arXiv 2006.05929).
    """

    def __init__(self, image_shape: tuple[int, ...], num_classes: int, *, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        widths = [math.prod(image_shape), *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The last hidden layer after its ReLU, `(n, hidden[-1])`."""
        hidden: Tensor = self.layers(images.flatten(1))
        return hidden

    def layer_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Every hidden layer after its ReLU, `(n, width)`; the flattened inputs where there is none."""
        return activations(self.layers, images.flatten(1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
