"""IDC: its steps class by class against plain autograd and a plain optimizer, and its networks, which see real images."""

import functools

import pytest
import torch
import torch.nn.functional as F

from core_distill.augment import Dsa, no_augment
from core_distill.augment.cutmix import cutmix
from core_distill.augment.successive import Successive
from core_distill.distill import distill
from core_distill.engine import Engine
from core_distill.matching.gradient_distances import convolution_l1
from core_distill.methods import RealTrainedMatching
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare


@pytest.fixture
def matching(sampler, new_network):
    values = {"real": sampler, "new_network": new_network, "batch_size": 4, "outer_steps": 3, "network_images": 10}
    return functools.partial(RealTrainedMatching, **values, network_batch_size=4)


@pytest.fixture
def new_set(sampler):
    recipe = find_recipe("dc", images_per_class=2).with_values({"width": 4, "depth": 2})
    return lambda: prepare(sampler, recipe, seed=0).synthetic


def naive_distance(network, real, synthetic):
    """Sum of squares over the weights of convolutions, of plain gradients."""
    total = 0.0
    weights = [value for value in network.parameters() if value.dim() == 4]
    for images, labels, own_images, own_labels in zip(*real[:2], *synthetic[:2], strict=True):
        targets = torch.autograd.grad(F.cross_entropy(network(images), labels), weights)
        own = torch.autograd.grad(F.cross_entropy(network(own_images), own_labels), weights, create_graph=True)
        total = total + sum((a - b.detach()).square().sum() for a, b in zip(own, targets, strict=True))
    return total


def naive_life(method, synthetic, generator, optimizer):
    """One network's life in plain PyTorch: a class at a time where the method says so, and torch's own SGD."""
    network = method.new_network(generator)
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    size = method.classes_at_once or 3
    for step in range(method.outer_steps):
        real = method.real.by_class(4, generator)
        for start in range(0, 3, size):
            rows = slice(start, start + size)
            pair = [type(real)(batch.images[rows], batch.labels[rows]) for batch in (real, synthetic.by_class())]
            loss = naive_distance(network, *Successive(method.augment.operations)(*pair, generator))
            optimizer.zero_grad()
            loss.backward(inputs=list(synthetic.parameters()))
            optimizer.step()
            yield loss.detach()
        if step + 1 == method.outer_steps:
            return
        images, labels, _ = method.real.batch(10, generator)
        for part in (slice(0, 4), slice(4, 8), slice(8, 10)):
            seen = Successive(method.network_operations).per_image(images[part], generator)
            mixed = cutmix(real._replace(images=seen, labels=labels[part]), 3, generator, share=method.cutmix_share)
            sgd.zero_grad()
            F.cross_entropy(network(mixed.images), mixed.labels).backward()
            sgd.step()


@pytest.mark.parametrize("augment", [no_augment, Dsa(("color", "crop", "cutout"))], ids=["plain", "changed"])
@pytest.mark.parametrize("classes_at_once", [0, 1, 2])
def test_a_life_is_that_of_plain_pytorch(matching, new_set, classes_at_once, augment):
    method = matching(classes_at_once=classes_at_once, augment=augment, cutmix_share=1.0)
    synthetic, theirs = new_set(), new_set()
    losses = []
    yields = 3 * {0: 1, 1: 3, 2: 2}[classes_at_once]
    distill(
        method,
        synthetic,
        torch.optim.SGD(synthetic.parameters(), lr=0.5, momentum=0.5),
        steps=yields,
        seed=0,
        engine=Engine(compile=False),
        observers=[lambda progress: losses.append(progress.loss)],
    )
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5, momentum=0.5)
    naive = list(naive_life(method, theirs, derive_generator(0, "episode", 0), optimizer))
    assert len(naive) == yields
    torch.testing.assert_close(torch.stack(losses), torch.stack(naive), rtol=1e-3, atol=1e-5)
    before = new_set().images.pixels
    assert (theirs.images.pixels - before).abs().max() > 1e-3
    torch.testing.assert_close(synthetic.images.pixels, theirs.images.pixels, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("classes_at_once", "slots"), [(0, [6]), (1, [2, 2, 2]), (2, [4, 2])])
def test_a_loss_decodes_the_slots_of_its_own_classes(matching, new_set, classes_at_once, slots):
    synthetic, decoded = new_set(), []
    synthetic.images.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))
    method = matching(classes_at_once=classes_at_once, outer_steps=1)
    list(method.episode(synthetic, derive_generator(0)))
    assert decoded == slots


def test_networks_train_on_real_images_alone(matching, new_set, new_network):
    """Another synthetic set changes no network."""
    lives = []
    for change in (0.0, 1.0):
        networks = []

        def recorded(generator, kept=networks):
            kept.append(new_network(generator))
            return kept[-1]

        synthetic = new_set()
        with torch.no_grad():
            synthetic.images.pixels.add_(change)
        list(matching(new_network=recorded).episode(synthetic, derive_generator(1)))
        lives.append([value.detach().clone() for value in networks[0].parameters()])
    start = new_network(derive_generator(1))
    for first, second, fresh in zip(*lives, start.parameters(), strict=True):
        assert torch.equal(first, second)
        assert not torch.equal(first, fresh)


def test_of_many_synthetic_images_a_few_are_seen(matching, new_set):
    synthetic = new_set()
    loss = next(matching(synthetic_batch_size=1).episode(synthetic, derive_generator(0)))
    (gradient,) = torch.autograd.grad(loss, synthetic.images.pixels)
    seen = gradient.flatten(1).abs().sum(1).view(3, 2) > 0
    assert (seen.sum(1) == 1).all()


def test_distance_and_sizes_are_arguments(matching, new_set):
    loss = next(matching(distance=convolution_l1).episode(new_set(), derive_generator(0)))
    assert not torch.equal(loss, next(matching().episode(new_set(), derive_generator(0))))


@pytest.mark.parametrize(
    "name", ["batch_size", "synthetic_batch_size", "outer_steps", "network_images", "network_batch_size"]
)
def test_numbers_below_one_are_refused(matching, name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        matching(**{name: 0})
