"""Units of work that train networks: the evaluation of a synthetic set, and experts."""

import itertools

import torch
from torch import nn

from core_distill.augment import all_operations
from core_distill.benchmark.inputs import Inputs, Size, architecture
from core_distill.benchmark.twins import evaluate_epoch, expert_step, full_test_pass
from core_distill.benchmark.unit import Timed, counted, meta_batch, meta_network
from core_distill.evaluation import Protocol, accuracy, trained_networks
from core_distill.training.expert_group import ExpertGroup, groups_of
from core_distill.training.expert_settings import ExpertTraining

NUM_NETWORKS, EPOCHS, TEST_IMAGES = 5, 1_000, 10_000
"""An evaluation as the field runs it: networks, epochs of each with augmentation, images of Fashion-MNIST's test set."""

NUM_EXPERTS, EXPERT_IMAGES, BATCH = 10, 10_000, 256
"""Expert training: networks, images of an epoch, and of a mini-batch."""

TIMED_EPOCHS = 20
"""Epochs that are run at once under the clock, where the networks are made in the same call: making them counts fifty
times then, not once."""

MOMENTUM, WEIGHT_DECAY, LEARNING_RATE = 0.9, 5e-4, 0.01
"""Of the standard protocol of evaluation; experts train with neither momentum nor decay."""


def fast_evaluation(inputs: Inputs) -> tuple[Timed, ...]:
    """All networks for a few epochs through the library, and the test pass of one."""
    size, train, calls = inputs.size, inputs.flat_synthetic(), itertools.count()
    protocol = Protocol(network=architecture(size), num_networks=NUM_NETWORKS, epochs=TIMED_EPOCHS)
    trained = inputs.new_network(inputs.generator("tested"))

    def epochs() -> None:
        made = trained_networks(
            train, protocol, image_shape=size.image_shape, num_classes=size.num_classes, seed=next(calls)
        )
        for _ in made:
            pass

    return (
        Timed(epochs, EPOCHS / TIMED_EPOCHS),
        Timed(lambda: accuracy(trained, inputs.test), NUM_NETWORKS * TEST_IMAGES / len(inputs.test)),
    )


def naive_evaluation(inputs: Inputs) -> tuple[Timed, ...]:
    """One network for an epoch, and its test pass."""
    train, calls = inputs.flat_synthetic(), itertools.count()
    network = inputs.new_network(inputs.generator("tested"))
    optimizer = _sgd(network, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    test = list(inputs.test.all_chunks(BATCH))

    def epoch() -> None:
        generator = inputs.generator("epoch", next(calls))
        evaluate_epoch(network, optimizer, train, all_operations.per_image, generator, batch_size=BATCH)

    return (
        Timed(epoch, NUM_NETWORKS * EPOCHS),
        Timed(lambda: full_test_pass(network, test), NUM_NETWORKS * TEST_IMAGES / len(inputs.test)),
    )


def evaluation_flops(size: Size) -> float:
    """Of all networks, epochs and test images."""
    network = meta_network(size).requires_grad_(False)
    tested = counted(lambda: network(meta_batch(size, 1).images))
    return NUM_NETWORKS * (EPOCHS * _training_flops(size, size.synthetic_images) + TEST_IMAGES * tested)


def fast_experts(inputs: Inputs) -> tuple[Timed, ...]:
    """One step of every expert, as `train_experts` runs it: one at a time on a CPU, several at once on a card.

    Of an epoch of one mini-batch, so that an order of all images is drawn for each step; the twin draws one too.
    """
    training = ExpertTraining(training_rate=LEARNING_RATE, training_batch_size=BATCH, training_images=BATCH)
    example = inputs.new_network(inputs.generator("experts"))
    groups = [
        ExpertGroup(inputs.real, inputs.new_network, training, numbers, augment=all_operations)
        for numbers in groups_of(range(NUM_EXPERTS), example, training)
    ]

    def step() -> None:
        for group in groups:
            group.train_epoch()

    return (Timed(step, EXPERT_IMAGES / BATCH),)


def naive_experts(inputs: Inputs) -> tuple[Timed, ...]:
    """One step of one expert."""
    network = inputs.new_network(inputs.generator("experts"))
    optimizer, calls = _sgd(network), itertools.count()

    def step() -> None:
        draw = inputs.generator("step", next(calls))
        expert_step(network, optimizer, inputs.real.batch(BATCH, draw), all_operations.per_image, draw)

    return (Timed(step, NUM_EXPERTS * EXPERT_IMAGES / BATCH),)


def expert_flops(size: Size) -> float:
    """Of all experts and images."""
    return NUM_EXPERTS * _training_flops(size, EXPERT_IMAGES)


def _training_flops(size: Size, images: int) -> float:
    """Of one pass of training over some images; each image costs the same."""
    network = meta_network(size)
    return images * counted(lambda: expert_step(network, _sgd(network), meta_batch(size, 1)))


def _sgd(network: nn.Module, *, momentum: float = 0.0, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=momentum, weight_decay=weight_decay)
