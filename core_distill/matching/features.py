"""Distribution matching: distances between class means of features."""

import torch
from torch import Tensor, nn

from core_distill.engine import features
from core_distill.matching.batching import class_means, refuse_batch_statistics
from core_distill.types import Batch, Signal


class MeanEmbedding:
    """The signal of DM (arXiv 2110.04181, equation 4): each class's mean feature, `(k, d)`."""

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Mean features of a grouped batch, one tensor `(k, d)`."""
        return (class_means(self.per_example(network, batch)[0], batch.weights),)

    def per_example(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Features of every example, one tensor `(k, n, d)`; all classes go through one pass."""
        refuse_batch_statistics(network)
        found = features(network, batch.images.flatten(0, 1))
        return (found.unflatten(0, batch.images.shape[:2]),)


mean_embedding = MeanEmbedding()


def mean_feature_distance(
    network: nn.Module, real: Batch, synthetic: Batch, *, signal: Signal = mean_embedding
) -> Tensor:
    """Sum over classes of the squared distance between real and synthetic mean features (DM, equation 5).

    Both batches are grouped by class, `(k, n, *shape)`; the real side is detached. Returns a scalar.
    """
    with torch.no_grad():
        targets = signal(network, real)
    own = mean_embedding(network, synthetic)
    return torch.stack([(a - b).square().sum() for a, b in zip(own, targets, strict=True)]).sum()
