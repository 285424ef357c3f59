"""The protocol: what it trains, what it counts, and that it leaves everything else alone."""

import functools
import json

import pytest
import torch
from torch import nn

from core_distill.augment import no_augment
from core_distill.data import ClassSampler
from core_distill.evaluation import Protocol, accuracy, evaluate, train_from_scratch, trained_networks
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.training import fit
from core_distill.types import Batch

SMALL = functools.partial(ConvNet, width=4, depth=2)


@pytest.fixture
def train(sampler):
    return sampler.by_class(4, torch.Generator().manual_seed(0))._replace(weights=None)


@pytest.fixture
def flat(train):
    return Batch(train.images.flatten(0, 1), train.labels.flatten())


@pytest.fixture
def protocol():
    return Protocol(network=SMALL, num_networks=3, epochs=3, learning_rate=0.1)


class Remembers(nn.Module):
    """Says the class that the first pixel names."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def forward(self, images):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return nn.functional.one_hot(images[:, 0, 0, 0].round().long(), 3).float()


def pixels(classes):
    return torch.tensor(classes, dtype=torch.float32).view(-1, 1, 1, 1)


@pytest.mark.parametrize("was_training", [True, False])
def test_accuracy_is_the_fraction_named_rightly(was_training):
    test = ClassSampler(pixels([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 0]), num_classes=3, mean=[0.0], std=[1.0])
    network = Remembers().train(was_training)
    assert accuracy(network, test) == 3 / 5
    assert set(network.modes) == {(False, False)}
    assert network.training is was_training


def test_accuracy_counts_every_image_once_over_many_chunks():
    labels = torch.arange(600) % 3
    test = ClassSampler(pixels(labels.where(labels < 2, 0).tolist()), labels, num_classes=3, mean=[0.0], std=[1.0])
    assert accuracy(Remembers(), test) == 400 / 600


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (2, 2), (3, 2), (10, 6), (11, 6)])
def test_the_learning_rate_is_divided_by_ten_at_half_time(epochs, first, flat):
    """`epochs // 2 + 1` epochs at the full rate, the rest at a tenth with new momentum."""
    protocol = Protocol(network=SMALL, epochs=epochs, learning_rate=0.1, batch_size=5)
    trained, expected = (SMALL((1, 8, 8), 3) for _ in range(2))
    expected.load_state_dict(trained.state_dict())
    train_from_scratch(trained, flat, protocol, generator=derive_generator(0))
    generator = derive_generator(0)
    for count, rate in ((first, 0.1), (epochs - first, 0.01)):
        fit(
            expected,
            flat,
            epochs=count,
            learning_rate=rate,
            momentum=0.9,
            weight_decay=5e-4,
            batch_size=5,
            augment=protocol.augment.per_image,
            generator=generator,
        )
    for found, wanted in zip(trained.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_the_defaults_are_the_released_codes(protocol):
    assert Protocol().describe() == {
        "network": "ConvNet",
        "network_options": {},
        "num_networks": 3,
        "epochs": 300,
        "augment": ["color", "crop", "cutout", "flip", "scale", "rotate"],
        "learning_rate": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "batch_size": 256,
        "accuracy_of": "last epoch",
    }
    assert json.loads(json.dumps(protocol.describe())) == protocol.describe()


def test_a_description_is_the_same_in_every_process():
    """No memory addresses: it decides whether a folder holds the same run."""
    named = Protocol(network=functools.partial(ConvNet, width=4, norm=batch_norm)).describe()
    assert named["network_options"] == {"width": "4", "norm": "batch_norm"}


@pytest.mark.parametrize("changes", [{"epochs": 0}, {"num_networks": 0}])
def test_nothing_to_do_is_refused(changes):
    with pytest.raises(ValueError, match="must be at least 1"):
        Protocol(**changes)


def test_a_score_is_the_last_epochs_accuracy_of_fresh_networks(flat, sampler, protocol):
    score = evaluate(flat, sampler, protocol, seed=7)
    networks = list(trained_networks(flat, protocol, image_shape=(1, 8, 8), num_classes=3, seed=7))
    assert score.accuracies == tuple(accuracy(network, sampler) for network in networks)
    weights = [next(network.parameters()) for network in networks]
    assert not torch.equal(weights[0], weights[1])


def test_the_seed_decides_and_more_networks_do_not_change_the_first(flat, sampler, protocol):
    first, again = (evaluate(flat, sampler, protocol, seed=0) for _ in range(2))
    assert first == again
    more = evaluate(flat, sampler, Protocol(network=SMALL, num_networks=4, epochs=3, learning_rate=0.1), seed=0)
    assert more.accuracies[:3] == first.accuracies
    assert evaluate(flat, sampler, protocol, seed=1) != first


@pytest.mark.parametrize("soft", [False, True])
def test_neither_the_batch_nor_global_randomness_is_touched(soft, flat, sampler, protocol):
    labels = torch.rand(12, 3, requires_grad=True) if soft else flat.labels
    batch = Batch(flat.images.clone().requires_grad_(), labels)
    before, state = [value.detach().clone() for value in batch[:2]], torch.get_rng_state()
    evaluate(batch, sampler, protocol, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(batch.images, before[0])
    assert torch.equal(batch.labels, before[1])
    assert batch.images.grad is None


def test_training_without_augmentation_sees_the_images_as_they_are(flat, sampler):
    plain = Protocol(network=SMALL, num_networks=1, epochs=2, learning_rate=0.1, augment=no_augment)
    augmented = Protocol(network=SMALL, num_networks=1, epochs=2, learning_rate=0.1)
    networks = [
        next(trained_networks(flat, one, image_shape=(1, 8, 8), num_classes=3, seed=0)) for one in (plain, augmented)
    ]
    generator = derive_generator(0, "evaluate", 0)
    expected = network_factory(SMALL, (1, 8, 8), 3)(generator)
    fit(
        expected,
        flat,
        epochs=2,
        learning_rate=0.1,
        momentum=0.9,
        weight_decay=5e-4,
        batch_size=256,
        generator=generator,
    )
    found, changed, wanted = (next(network.parameters()) for network in (*networks, expected))
    assert torch.equal(found, wanted)
    assert not torch.equal(changed, wanted)


def test_a_set_of_real_images_is_learned(sampler):
    """12 images a class, learned by heart: far above chance on the same images."""
    train = sampler.take(torch.arange(36))
    protocol = Protocol(network=SMALL, num_networks=1, epochs=60, learning_rate=0.1, augment=no_augment)
    assert evaluate(train, sampler, protocol, seed=0).mean > 0.8


def test_who_watches_is_told_of_each_network(flat, sampler, protocol):
    seen = []
    evaluate(flat, sampler, protocol, seed=0, watch=seen.append)
    assert seen == [1, 2, 3]
