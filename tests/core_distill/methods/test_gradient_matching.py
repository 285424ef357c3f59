"""DC and DSA: every loss of an episode and its gradient against the papers' loop in plain autograd."""

import pytest
import torch
import torch.nn.functional as F

from core_distill.augment import Dsa, no_augment
from core_distill.matching import mean_gradient
from core_distill.methods import GradientMatching
from core_distill.randomness import derive_generator


def shifted(network, batch):
    """Another signal than the mean gradient, at another angle."""
    return tuple(value + 0.1 for value in mean_gradient(network, batch))


def gradients(network, images, labels):
    loss = F.cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()), create_graph=True)


def distance(own, targets):
    """Of one class: 1 - cosine of every output unit, nothing of vectors."""
    pairs = [(a.flatten(1), b.detach().flatten(1)) for a, b in zip(own, targets, strict=True) if a.dim() > 1]
    return sum((1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum() for a, b in pairs)


def naive_episode(method, synthetic, generator, shift):
    """Three losses of batches of 4, and after each two epochs of SGD at 0.1 on all six images."""
    network = method.new_network(generator)
    for _ in range(3):
        real, own = method.augment(method.real.by_class(4, generator), synthetic.by_class(), generator)
        loss = 0
        for number in range(3):
            targets = [value + shift for value in gradients(network, real.images[number], real.labels[number])]
            loss = loss + distance(gradients(network, own.images[number], own.labels[number]), targets)
        yield loss
        images, labels, _ = synthetic.batch()
        for _ in range(2):
            order = torch.randperm(6, generator=generator)
            seen = method.augment.per_image(images.detach()[order], generator)
            step = gradients(network, seen, labels[order])
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), step, strict=True):
                    parameter -= 0.1 * gradient


@pytest.mark.parametrize(
    ("augment", "signal", "shift"),
    [(no_augment, mean_gradient, 0), (Dsa(), mean_gradient, 0), (no_augment, shifted, 0.1)],
    ids=["dc", "dsa", "another signal"],
)
def test_every_loss_and_gradient_is_that_of_the_loop_in_plain_autograd(exact, synthetic, augment, signal, shift):
    values = {"batch_size": 4, "outer_steps": 3, "inner_epochs": 2, "learning_rate": 0.1}
    method = GradientMatching(**exact, augment=augment, signal=signal, **values)
    pixels = synthetic.double().images.pixels
    naive = naive_episode(method, synthetic, derive_generator(0), shift)
    for found, wanted in zip(method.episode(synthetic, derive_generator(0)), naive, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        (ours,), (theirs,) = (torch.autograd.grad(loss, pixels) for loss in (found, wanted))
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)
        with torch.no_grad():
            pixels -= theirs
