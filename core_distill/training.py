"""Training a network on a small set: the inner loop of methods and the first half of every evaluation."""

import torch
import torch.nn.functional as F
from torch import Generator, nn

from core_distill.types import Augment, Batch


def fit(
    network: nn.Module,
    batch: Batch,
    *,
    epochs: int,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch_size: int = 256,
    augment: Augment | None = None,
    generator: Generator,
) -> None:
    """Train `network` in place by SGD on the cross-entropy of a flat batch, hard or soft labels.

    Each epoch is one shuffled pass; `augment` draws anew for every image of every mini-batch. The batch is detached, and
    the network's gradients are cleared at the end.
    """
    images, labels = batch.images.detach(), batch.labels.detach()
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=generator, device=images.device)
        for chosen in order.split(batch_size):
            seen = images[chosen]
            if augment is not None:
                seen = augment(seen, generator)
            optimizer.zero_grad()
            F.cross_entropy(network(seen), labels[chosen]).backward()
            optimizer.step()
    optimizer.zero_grad()
