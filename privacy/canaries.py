"""Records put into the data to see whether a release betrays them, and scores that say how much it does."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from core_distill.data import ClassSampler
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.types import Network, NetworkFactory

MakeCanaries = Callable[[ClassSampler, Generator], ClassSampler]
"""`make(chosen, generator)`: turns as many records as there are into canaries."""

CanaryScore = Callable[[SyntheticSet, ClassSampler, ClassSampler, Generator], Tensor]
"""`score(synthetic, canaries, certain, generator) -> (m,)`: higher where a canary seems to have been trained on.

`certain` are the records that were certainly trained on: an auditor knows everything but the coin tosses.
"""


def mislabelled(chosen: ClassSampler, generator: Generator) -> ClassSampler:
    """The same images, each under a wrong label drawn at random: strong where networks are trained on the release."""
    shift = torch.randint(1, chosen.num_classes, (len(chosen),), generator=generator, device=generator.device)
    labels = (chosen.labels + shift.to(chosen.device)) % chosen.num_classes
    return _relabelled(chosen, chosen.images, labels)


def natural(chosen: ClassSampler, generator: Generator) -> ClassSampler:
    """The records as they are: stronger than mislabelled ones against distribution matching."""
    return chosen


def noisy(chosen: ClassSampler, generator: Generator) -> ClassSampler:
    """Images of independent uniform noise over the range of the chosen ones, labels kept."""
    images = chosen.images
    low, high = float(images.min()), float(images.max())
    noise = low + (high - low) * torch.rand(images.shape, generator=generator, device=generator.device)
    return _relabelled(chosen, noise.to(images), chosen.labels)


CANARIES: dict[str, MakeCanaries] = {"mislabelled": mislabelled, "natural": natural, "noise": noisy}
"""The canaries by the names used on the command line."""


def nearest_image_score(
    synthetic: SyntheticSet, canaries: ClassSampler, certain: ClassSampler, generator: Generator
) -> Tensor:
    """Minus the distance to the nearest synthetic image of the canary's class: finds records that were copied."""
    own = synthetic.by_class(generator).images.detach().flatten(2)
    every = torch.cat([chunk.images.flatten(1) for chunk in canaries.all_chunks(256)])
    row = torch.searchsorted(synthetic.classes, canaries.labels)
    scores = every.new_zeros(len(every))
    for k, images in enumerate(own):
        scores[row == k] = -torch.cdist(every[row == k], images).min(1).values
    return scores


def loss_score(new_network: NetworkFactory, *, num_networks: int = 5, epochs: int = 100) -> CanaryScore:
    """Minus the loss of a canary under networks trained on the synthetic set, averaged over `num_networks`."""

    def score(synthetic: SyntheticSet, canaries: ClassSampler, certain: ClassSampler, generator: Generator) -> Tensor:
        total = torch.zeros(len(canaries), device=canaries.device)
        for _ in range(num_networks):
            network = new_network(generator)
            fit(
                network,
                synthetic.batch(generator=generator),
                epochs=epochs,
                learning_rate=0.01,
                momentum=0.9,
                generator=generator,
            )
            with torch.no_grad():
                losses = [
                    F.cross_entropy(network(chunk.images), chunk.labels, reduction="none")
                    for chunk in canaries.all_chunks(256)
                ]
            total -= torch.cat(losses)
        return total / num_networks

    return score


def feature_score(new_network: NetworkFactory, *, num_networks: int = 10, ridge: float = 1.0) -> CanaryScore:
    """How far the synthetic class mean was moved towards a canary's features, averaged over random networks.

    For each network: the inner product of the canary's centred features with the synthetic class mean minus the mean of
    the certain records of that class, in the metric in which certain features are white (up to `ridge` times their mean
    variance). It is the likelihood-ratio direction for releases that are noisy class means.
    """

    def score(synthetic: SyntheticSet, canaries: ClassSampler, certain: ClassSampler, generator: Generator) -> Tensor:
        total = torch.zeros(len(canaries), device=canaries.device)
        with torch.no_grad():
            own = synthetic.by_class(generator)
            for _ in range(num_networks):
                extractor = cast(Network, new_network(generator))
                means = torch.stack([extractor.features(row).mean(0) for row in own.images])
                total += _shift_towards(extractor, means, synthetic.classes, canaries, certain, ridge)
        return total / num_networks

    return score


def _shift_towards(
    extractor: Network, means: Tensor, classes: Tensor, canaries: ClassSampler, certain: ClassSampler, ridge: float
) -> Tensor:
    """Scores `(m,)` under one network, from its synthetic class means `(k, d)`."""
    known = torch.cat([extractor.features(chunk.images) for chunk in certain.all_chunks(256)])
    seen = torch.cat([extractor.features(chunk.images) for chunk in canaries.all_chunks(256)])
    centres = torch.stack([known[certain.labels == number].mean(0) for number in classes.tolist()])
    centred = known - centres[torch.searchsorted(classes, certain.labels)]
    covariance = centred.T @ centred / len(centred)
    covariance.diagonal().add_(ridge * covariance.diagonal().mean())
    directions = torch.linalg.solve(covariance, (means - centres).T).T
    row = torch.searchsorted(classes, canaries.labels)
    scores: Tensor = torch.linalg.vecdot(seen - centres[row], directions[row])
    return scores


def _relabelled(chosen: ClassSampler, images: Tensor, labels: Tensor) -> ClassSampler:
    return ClassSampler(images, labels, num_classes=chosen.num_classes, mean=chosen.mean, std=chosen.std)
