"""DM: several losses and their gradients against the paper's sum over classes in plain autograd."""

import pytest
import torch

from core_distill.augment import Dsa, no_augment
from core_distill.matching import mean_embedding
from core_distill.methods import DistributionMatching
from core_distill.randomness import derive_generator


def tripled(network, batch):
    """Another signal than the mean embedding."""
    return tuple(3 * value for value in mean_embedding(network, batch))


def naive_loss(method, synthetic, generator, factor):
    """A fresh network, 4 real images a class."""
    network = method.new_network(generator)
    real, own = method.augment(method.real.by_class(4, generator), synthetic.by_class(), generator)
    loss = 0
    for real_images, images in zip(real.images, own.images, strict=True):
        target = factor * network.features(real_images).detach().mean(0)
        loss = loss + (network.features(images).mean(0) - target).square().sum()
    return loss


@pytest.mark.parametrize(
    ("augment", "signal", "factor"),
    [(no_augment, mean_embedding, 1), (Dsa(), mean_embedding, 1), (no_augment, tripled, 3)],
    ids=["plain", "siamese", "another signal"],
)
def test_every_loss_and_gradient_is_that_of_the_sum_in_plain_autograd(exact, synthetic, augment, signal, factor):
    method = DistributionMatching(**exact, augment=augment, signal=signal, batch_size=4)
    pixels = synthetic.double().images.pixels
    generators = [derive_generator(0) for _ in range(2)]
    for _ in range(3):
        (found,) = method.episode(synthetic, generators[0])
        wanted = naive_loss(method, synthetic, generators[1], factor)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
        (ours,), (theirs,) = (torch.autograd.grad(loss, pixels) for loss in (found, wanted))
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)
        with torch.no_grad():
            pixels -= theirs
