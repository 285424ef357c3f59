"""Training networks on a small set: the inner loop of methods and the first half of every evaluation."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from core_distill.engine import can_stack, loss_gradient, network_gradients, parameters_of
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
    sgd = _Sgd(batch, epochs, learning_rate, momentum, weight_decay, batch_size, augment)
    sgd.train(network, generator)


def fit_many(
    networks: Sequence[nn.Module],
    batch: Batch,
    *,
    epochs: int,
    learning_rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    batch_size: int = 256,
    augment: Augment | None = None,
    generators: Sequence[Generator],
) -> None:
    """`fit` for each network with its own generator; all at once where they are of one kind and that is faster."""
    sgd = _Sgd(batch, epochs, learning_rate, momentum, weight_decay, batch_size, augment)
    if can_stack(networks):
        sgd.train_together(networks, generators)
        return
    for network, generator in zip(networks, generators, strict=True):
        sgd.train(network, generator)


class _Sgd(NamedTuple):
    """What a network is trained on, and how."""

    batch: Batch
    epochs: int
    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    augment: Augment | None

    def epoch(self, generator: Generator) -> list[Tensor]:
        """Positions of the mini-batches of one shuffled pass."""
        images = self.batch.images
        return list(torch.randperm(len(images), generator=generator, device=images.device).split(self.batch_size))

    def seen(self, chosen: Tensor, generator: Generator) -> Batch:
        """A mini-batch as a network sees it."""
        images = self.batch.images.detach()[chosen]
        if self.augment is not None:
            images = self.augment(images, generator)
        return Batch(images, self.batch.labels.detach()[chosen])

    def train(self, network: nn.Module, generator: Generator) -> None:
        optimizer = torch.optim.SGD(
            network.parameters(), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )
        for _ in range(self.epochs):
            for chosen in self.epoch(generator):
                gradients = loss_gradient(network, parameters_of(network), self.seen(chosen, generator))
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter.grad = gradient
                optimizer.step()
        optimizer.zero_grad()

    @torch.no_grad()
    def train_together(self, networks: Sequence[nn.Module], generators: Sequence[Generator]) -> None:
        """What `train` does to each, with the parameters of all stacked."""
        parameters = [torch.stack(parts) for parts in zip(*map(parameters_of, networks), strict=True)]
        velocities = [torch.zeros_like(value) for value in parameters]
        for _ in range(self.epochs):
            for chosen in zip(*map(self.epoch, generators), strict=True):
                seen = [self.seen(*pair) for pair in zip(chosen, generators, strict=True)]
                together = Batch(torch.stack([one.images for one in seen]), torch.stack([one.labels for one in seen]))
                gradients = list(network_gradients(networks[0], parameters, together))
                torch._foreach_add_(gradients, parameters, alpha=self.weight_decay)
                torch._foreach_mul_(velocities, self.momentum)
                torch._foreach_add_(velocities, gradients)
                torch._foreach_add_(parameters, velocities, alpha=-self.learning_rate)
        for number, network in enumerate(networks):
            for parameter, trained in zip(network.parameters(), parameters, strict=True):
                parameter.copy_(trained[number])
