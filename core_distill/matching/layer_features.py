"""Feature alignment: class means of every layer, and a classifier of real features made of the synthetic centres."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core_distill.engine import features, layer_means, layer_means_and_features
from core_distill.matching.batching import class_means, refuse_batch_statistics
from core_distill.types import Batch, Signal


class MeanLayers:
    """The signal of CAFE (arXiv 2203.01531): each class's mean of every layer, one tensor `(k, *layer)` each."""

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """Of a grouped batch; differentiable with respect to images. Raises what `layer_means` raises."""
        refuse_batch_statistics(network)
        return layer_means(network, batch)

    def with_features(self, network: nn.Module, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
        """The same, and the features `(k, n, d)` of every image, which one pass finds as well."""
        refuse_batch_statistics(network)
        return layer_means_and_features(network, batch)

    def per_example(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """One tensor `(k, n, *layer)` a layer: what every example makes of it."""
        refuse_batch_statistics(network)
        images, labels, _ = batch
        count = images.shape[:2]
        alone = Batch(images.flatten(0, 1).unsqueeze(1), labels.flatten(0, 1).unsqueeze(1))
        return tuple(layer.unflatten(0, count) for layer in layer_means(network, alone))


mean_layers = MeanLayers()


def layer_distance(own: Sequence[Tensor], targets: Sequence[Tensor], *, layer_weights: Sequence[float]) -> Tensor:
    """Sum over layers and classes of the weighted squared distance between tensors `(k, *layer)` (CAFE's layer-wise alignment).

    `layer_weights` are of the last layers; of a network with more, all earlier ones have the first weight, and with fewer,
    the first weights are left out. Raises `ValueError` for none.
    """
    if not layer_weights:
        raise ValueError("layer_weights must hold at least one weight, of the last layer")
    missing = max(0, len(own) - len(layer_weights))
    weights = [layer_weights[0]] * missing + list(layer_weights)[-len(own) :]
    terms = [w * (a - b).square().sum() for w, a, b in zip(weights, own, targets, strict=True)]
    return torch.stack(terms).sum()


def discrimination_loss(real_features: Tensor, centres: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy of real features `(k, n, d)` under the classifier whose weights are `centres (k, d)`, row for row.

    The mean over the examples of a class, summed over classes (CAFE's discrimination loss); `weights (k, n)` of 0 leave
    padding out.
    """
    rows, count = real_features.shape[:2]
    logits = (real_features @ centres.T).flatten(0, 1)
    own = torch.arange(rows, device=logits.device).repeat_interleave(count)
    losses = F.cross_entropy(logits, own, reduction="none").unflatten(0, (rows, count))
    return class_means(losses, weights).sum()


def feature_alignment(
    network: nn.Module,
    real: Batch,
    synthetic: Batch,
    *,
    layer_weights: Sequence[float],
    discrimination_weight: float,
    signal: Signal = mean_layers,
) -> Tensor:
    """CAFE's loss (arXiv 2203.01531, as released) of batches grouped by class, `(k, n, *shape)`; a scalar.

    The distance between the mean layers of real and synthetic images, and how badly the synthetic centres of the last layer
    tell real images apart. The real side is detached; it comes through `signal` for the distance alone, which with the plain
    `mean_layers` shares its pass with the discrimination.
    """
    with torch.no_grad():
        if signal is mean_layers:
            targets, real_features = mean_layers.with_features(network, real)
        else:
            targets = signal(network, real)
            real_features = features(network, real.images.flatten(0, 1)).unflatten(0, real.images.shape[:2])
    own = mean_layers(network, synthetic)
    distance = layer_distance(own, targets, layer_weights=layer_weights)
    return distance + discrimination_weight * discrimination_loss(real_features, own[-1].flatten(1), real.weights)
