"""A small network for texts: filters over a few neighbouring words each, and the strongest answer of every filter."""

import math
from typing import final

from torch import Tensor, cat, nn

from core_distill.networks.shapes import check_width


@final
class TextCNN(nn.Module):
    """Filters over neighbouring positions, ReLU and the maximum; then one linear layer.

    Inputs `(n, *shape, length)`: sequences along the last dimension, all others flattened into what is known of a position.
    Texts are `(n, dimensions, length)`, a column an embedded word; an image is read as its sequence of columns. A span longer
    than the sequence sees all of it at once. Zeros around the sequence let every span see every position.

    Args:
        width: filters of each span.
        spans: over how many neighbouring positions filters go.

    Source: Kim, arXiv 1408.5882, with fixed embeddings outside the network and no dropout.
    Raises `ValueError` for inputs of one dimension, a width below 1 and spans that are none.
    """

    def __init__(
        self, image_shape: tuple[int, ...], num_classes: int, *, width: int = 100, spans: tuple[int, ...] = (3, 4, 5)
    ) -> None:
        super().__init__()
        check_width(width, "TextCNN")
        if len(image_shape) < 2 or min(image_shape) < 1:
            raise ValueError(
                f"TextCNN needs sequences of shape (dimensions, length), each at least 1, got {tuple(image_shape)}"
            )
        if not spans or min(spans) < 1:
            raise ValueError(f"spans must be numbers of neighbouring words, at least 1 each, got {spans}")
        known, length = math.prod(image_shape[:-1]), image_shape[-1]
        self.filters = nn.ModuleList(
            nn.Conv1d(known, width, min(span, length), padding=(min(span, length) - 1) // 2) for span in spans
        )
        self.classifier = nn.Linear(width * len(spans), num_classes)

    def features(self, images: Tensor) -> Tensor:
        """The strongest answer of each filter, `(n, width * number of spans)`."""
        sequences = images.flatten(1, -2)
        return cat([layer(sequences).relu().amax(-1) for layer in self.filters], 1)

    def layer_features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Every filter's answers along the sequence, `(n, width, positions)` a span, and the strongest of each."""
        sequences = images.flatten(1, -2)
        answers = [layer(sequences).relu() for layer in self.filters]
        return *answers, cat([answer.amax(-1) for answer in answers], 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(images))
        return logits
