"""Gradient matching: distances between the gradients that real and synthetic images of a class give a network."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from core_distill.engine import class_gradients, parameters_of
from core_distill.matching.batching import refuse_batch_statistics
from core_distill.types import Batch, Signal

Distance = Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]


class MeanGradient:
    """The signal of DC (arXiv 2006.05929, equation 8): each class's gradient of the mean cross-entropy, `(k, *parameter)`.

    The network's `.grad` is never touched, and the result can be differentiated with respect to images and labels.
    """

    def __call__(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """One tensor `(k, *parameter.shape)` for each parameter, in the order of `network.parameters()`."""
        refuse_batch_statistics(network)
        return class_gradients(network, parameters_of(network), batch)

    def per_example(self, network: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """One tensor `(k, n, *parameter.shape)` for each parameter: every example's own gradient."""
        refuse_batch_statistics(network)
        parameters = _detached_parameters(network)
        examples = vmap(grad(_example_loss, argnums=1), in_dims=(None, None, 0, 0))
        stacked = examples(network, parameters, batch.images.flatten(0, 1), batch.labels.flatten(0, 1))
        return tuple(stacked[name].unflatten(0, batch.images.shape[:2]) for name in parameters)


mean_gradient = MeanGradient()


def layerwise_cosine(own: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
    """Sum over classes, layers and output units of 1 - cosine (DC, equation 9 and its released code).

    Tensors are `(k, out, ...)`; biases and norm parameters, `(k, out)`, contribute nothing.
    """
    total = own[0].new_zeros(())
    for a, b in zip(own, targets, strict=True):
        if a.dim() > 2:
            a, b = a.flatten(2), b.flatten(2)
            total = total + (1 - (a * b).sum(2) / (a.norm(dim=2) * b.norm(dim=2) + 1e-6)).sum()
    return total


def gradient_distance(
    network: nn.Module,
    real: Batch,
    synthetic: Batch,
    *,
    signal: Signal = mean_gradient,
    distance: Distance = layerwise_cosine,
) -> Tensor:
    """Distance between the gradients of each class's real and synthetic images, summed over classes; a scalar.

    Both batches are grouped by class, `(k, n, *shape)`; the real side is detached.
    """
    return distance(mean_gradient(network, synthetic), _targets(signal, network, real))


def class_sum_distance(
    network: nn.Module,
    real: Batch,
    synthetic: Batch,
    *,
    signal: Signal = mean_gradient,
    distance: Distance = layerwise_cosine,
) -> Tensor:
    """Distance between the gradients of all real and of all synthetic images together (DCC, arXiv 2202.02916, equation 6).

    The real gradient is the mean of the classes' own. Both batches are grouped by class, `(k, n, *shape)`; the real side is
    detached. Returns a scalar.
    """
    images, labels, weights = synthetic
    row = Batch(
        images.flatten(0, 1)[None], labels.flatten(0, 1)[None], None if weights is None else weights.flatten()[None]
    )
    return distance(mean_gradient(network, row), _over_classes(_targets(signal, network, real)))


def multilevel_distance(
    network: nn.Module,
    real: Batch,
    synthetic: Batch,
    *,
    signal: Signal = mean_gradient,
    distance: Distance = layerwise_cosine,
    between_classes: float = 1.0,
) -> Tensor:
    """Distance within each class plus, as heavy as all of those, distance between the means over classes; a scalar.

    `between_classes` scales the second part, which counts once for each class (Jiang et al., arXiv 2208.00311, released
    code). Both batches are grouped by class, `(k, n, *shape)`; the real side is detached.
    """
    targets, own = _targets(signal, network, real), mean_gradient(network, synthetic)
    together = distance(_over_classes(own), _over_classes(targets))
    return distance(own, targets) + between_classes * len(synthetic.images) * together


def _targets(signal: Signal, network: nn.Module, real: Batch) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return tuple(target.detach() for target in signal(network, real))


def _over_classes(gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Means over the classes, kept as a single row."""
    return tuple(gradient.mean(0, keepdim=True) for gradient in gradients)


def _detached_parameters(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in network.named_parameters()}


def _example_loss(network: nn.Module, parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
    return F.cross_entropy(functional_call(network, parameters, (image[None],)), label[None])
