"""Losses of single examples: what gradients are taken of."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

ExampleLoss = Callable[[Tensor, Tensor], Tensor]
"""`loss(logits (n, c), labels (n,) or (n, c)) -> (n,)`; a module-level function, since compiled code is kept by it."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with class numbers or probabilities, `(n,)`."""
    return F.cross_entropy(logits, labels, reduction="none")


def squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Half the squared distance to targets `(n, c)`, summed over classes, `(n,)`."""
    return 0.5 * (logits - labels).square().sum(-1)
