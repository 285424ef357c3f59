"""Each unit of work written the plain way: loops over classes, whole batches, one network at a time, graphs kept.

This is what the formulas say and what reference codes do. Tests hold the library's fast paths against these, and
`stillroom benchmark speed` says how much faster they are.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.func import functional_call

from core_distill.types import Augment, Batch, Network, SiameseAugment


class Found(NamedTuple):
    """A loss, a scalar, and its gradient with respect to the synthetic images."""

    loss: Tensor
    gradient: Tensor


def dc_step(network: nn.Module, real: Batch, synthetic: Batch) -> Found:
    """DC's matching loss class by class (arXiv 2006.05929, equations 8 and 9); both batches are grouped, `(k, n, ...)`."""
    images = synthetic.images.detach().requires_grad_()
    loss = images.new_zeros(())
    for number in range(len(images)):
        loss = loss + _class_distance(network, row_of(real, number), Batch(images[number], synthetic.labels[number]))
    return Found(loss.detach(), torch.autograd.grad(loss, images)[0])


def dsa_step(network: nn.Module, real: Batch, synthetic: Batch, augment: SiameseAugment, generator: Generator) -> Found:
    """`dc_step` with each class augmented on its own before it is matched (DSA, arXiv 2102.08259)."""
    images = synthetic.images.detach().requires_grad_()
    loss = images.new_zeros(())
    for number in range(len(images)):
        seen = augment(row_of(real, number), Batch(images[number], synthetic.labels[number]), generator)
        loss = loss + _class_distance(network, *seen)
    return Found(loss.detach(), torch.autograd.grad(loss, images)[0])


def dm_step(network: nn.Module, real: Batch, synthetic: Batch, augment: SiameseAugment, generator: Generator) -> Found:
    """DM's distance of mean features class by class (arXiv 2110.04181, equation 5)."""
    features = cast(Network, network).features
    images = synthetic.images.detach().requires_grad_()
    loss = images.new_zeros(())
    for number in range(len(images)):
        own = Batch(images[number], synthetic.labels[number])
        seen_real, seen = augment(row_of(real, number), own, generator)
        target = features(seen_real.images).detach().mean(0)
        loss = loss + (features(seen.images).mean(0) - target).square().sum()
    return Found(loss.detach(), torch.autograd.grad(loss, images)[0])


def mtt_loss(
    network: nn.Module,
    start: Sequence[Tensor],
    target: Sequence[Tensor],
    synthetic: Batch,
    batch_at: Callable[[int, Tensor, Tensor], Batch],
    *,
    steps: int,
    step_size: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """MTT's loss through a graph of all training steps (arXiv 2203.11932, equation 2).

    Returns the loss and its gradients with respect to the flat synthetic images and the step size.
    """
    images, rate = synthetic.images.detach().requires_grad_(), step_size.detach().requires_grad_()
    names = [name for name, _ in network.named_parameters()]
    student = [value.detach().requires_grad_() for value in start]
    for step in range(steps):
        seen = batch_at(step, images, synthetic.labels)
        logits = functional_call(network, dict(zip(names, student, strict=True)), (seen.images,))
        gradients = torch.autograd.grad(F.cross_entropy(logits, seen.labels), student, create_graph=True)
        student = [value - rate * gradient for value, gradient in zip(student, gradients, strict=True)]
    left, way = (
        torch.stack([(a - b).square().sum() for a, b in zip(values, target, strict=True)]).sum()
        for values in (student, start)
    )
    loss = left / way
    to_images, to_rate = torch.autograd.grad(loss, [images, rate])
    return loss.detach(), to_images, to_rate


def frepo_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    target: Batch,
    synthetic: Batch,
    *,
    num_classes: int,
    regularisation: float = 1e-6,
) -> Found:
    """FRePo's loss of kernel ridge regression (arXiv 2206.00719, equation 5), then one training step of its network.

    Both batches are flat; what is regressed on are one-hot labels less their mean, `y - 1/C`, in float64. The margin that
    the released code subtracts is `1/C` for them. The training step is one of `optimizer` on half the squared error.
    """
    features = cast(Network, network).features
    images = synthetic.images.detach().requires_grad_()
    wanted, given = (F.one_hot(batch.labels, num_classes).double() - 1 / num_classes for batch in (target, synthetic))
    with torch.no_grad():
        target_features = features(target.images).double()
    own = features(images).double()
    kernel = own @ own.T
    ridge = regularisation * kernel.trace() / len(kernel) * torch.eye(len(kernel), dtype=own.dtype, device=own.device)
    predicted = target_features @ own.T @ torch.linalg.solve(kernel + ridge, given)
    loss = 0.5 * (predicted - wanted).square().sum(1).mean() - 1 / num_classes
    gradient = torch.autograd.grad(loss, images)[0]
    optimizer.zero_grad()
    (0.5 * (network(images.detach()) - given).square().sum(1).mean()).backward()
    optimizer.step()
    return Found(loss.detach(), gradient)


def expert_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    augment: Augment | None = None,
    generator: Generator | None = None,
) -> None:
    """One training step of one network on a flat mini-batch."""
    images = batch.images if augment is None or generator is None else augment(batch.images, generator)
    optimizer.zero_grad()
    F.cross_entropy(network(images), batch.labels).backward()
    optimizer.step()


def evaluate_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Batch,
    augment: Augment | None,
    generator: Generator,
    *,
    batch_size: int = 256,
) -> None:
    """One shuffled pass of one network over a small set."""
    order = torch.randperm(len(train.images), generator=generator, device=train.images.device)
    for chosen in order.split(batch_size):
        expert_step(network, optimizer, Batch(train.images[chosen], train.labels[chosen]), augment, generator)


@torch.no_grad()
def full_test_pass(network: nn.Module, batches: Sequence[Batch]) -> float:
    """The fraction of the images that one network names rightly; the host waits for every batch, as reference codes do."""
    right = sum(int((network(batch.images).argmax(-1) == batch.labels).sum()) for batch in batches)
    return right / sum(len(batch.labels) for batch in batches)


def row_of(batch: Batch, number: int) -> Batch:
    """One class of a grouped batch, flat."""
    return Batch(batch.images[number], batch.labels[number])


def _class_distance(network: nn.Module, real: Batch, synthetic: Batch) -> Tensor:
    """The distance of one class's gradients: a sum over layers and output units of 1 - cosine, none for vectors."""
    parameters = list(network.parameters())
    targets = torch.autograd.grad(F.cross_entropy(network(real.images), real.labels), parameters)
    loss = F.cross_entropy(network(synthetic.images), synthetic.labels)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    total = synthetic.images.new_zeros(())
    for target, gradient in zip(targets, gradients, strict=True):
        if target.dim() > 1:
            a, b = gradient.flatten(1), target.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total
