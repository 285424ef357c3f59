"""How alike features are: of two views of one thing, and of the things of one class."""

import torch
import torch.nn.functional as F
from torch import Tensor


def mean_likeness(first: Tensor, second: Tensor) -> Tensor:
    """The mean of `(cosine + 1) / 2` between rows of `(n, d)`: 1 for equal directions, 0 for opposite ones."""
    return (F.cosine_similarity(first, second) + 1).mean() / 2


def supervised_contrastive_loss(embeddings: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """How little each view singles out those of its class, a scalar (SupCon, arXiv 2004.11362, equation 2).

    `embeddings (n, v, d)` are `v` views, at least 2, of examples with class numbers `labels (n,)`; they are normalised here.
    """
    count, views = embeddings.shape[:2]
    directions = F.normalize(embeddings.flatten(0, 1), dim=1)
    itself = torch.eye(count * views, dtype=torch.bool, device=embeddings.device)
    closeness = (directions @ directions.T / temperature).masked_fill(itself, float("-inf"))
    classes = labels.repeat_interleave(views)
    alike = (classes.unsqueeze(0) == classes.unsqueeze(1)) & ~itself
    said = torch.where(alike, closeness.log_softmax(1), 0.0)
    return -(said.sum(1) / alike.sum(1)).mean()
