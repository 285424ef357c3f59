"""TextCNN: a filter's strongest answer over the positions, wherever it is; sequences, images and short texts."""

import functools

import pytest
import torch
import torch.nn.functional as F

from core_distill.engine import class_gradients, parameters_of
from core_distill.networks import TextCNN, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch


def texts(*shape):
    return torch.randn(*shape, generator=derive_generator(0), dtype=torch.float64)


def test_features_are_the_best_answers_over_all_positions():
    network = network_factory(functools.partial(TextCNN, width=3, spans=(2, 3)), (4, 7), 5)(
        derive_generator(1)
    ).double()
    images = texts(2, 4, 7)
    found = network.features(images)
    assert found.shape == (2, 6)
    for place, layer in zip((0, 3), network.filters, strict=True):
        span = layer.kernel_size[0]
        padded = F.pad(images, ((span - 1) // 2,) * 2)
        for number in range(3):
            answers = [
                (padded[:, :, start : start + span] * layer.weight[number]).sum((1, 2)) + layer.bias[number]
                for start in range(padded.shape[2] - span + 1)
            ]
            torch.testing.assert_close(found[:, place + number], torch.stack(answers).amax(0).relu())


def test_words_may_move_together():
    """The same three words, with silence around them, elsewhere."""
    network = network_factory(functools.partial(TextCNN, width=4, spans=(3,)), (5, 20), 2)(derive_generator(1)).double()
    words = texts(5, 3)
    first, second = torch.zeros(2, 1, 5, 20, dtype=torch.float64)
    first[0, :, 4:7], second[0, :, 11:14] = words, words
    torch.testing.assert_close(network(first), network(second))


@pytest.mark.parametrize("shape", [(6, 9), (1, 6, 9), (3, 2, 9), (6, 1)])
def test_all_dimensions_but_the_last_are_of_a_position(shape):
    network = network_factory(functools.partial(TextCNN, width=4), shape, 3)(derive_generator(1)).double()
    flat = network_factory(functools.partial(TextCNN, width=4), (6, shape[-1]), 3)(derive_generator(1)).double()
    images = texts(4, *shape)
    assert torch.equal(network(images), flat(images.reshape(4, 6, shape[-1])))


def test_gradients_of_classes_run_together():
    network = network_factory(functools.partial(TextCNN, width=4), (6, 9), 2)(derive_generator(1)).double()
    images = texts(2, 3, 6, 9).requires_grad_()
    labels = torch.arange(2).view(2, 1).expand(2, 3)
    together = class_gradients(network, parameters_of(network), Batch(images, labels))
    for row in range(2):
        loss = F.cross_entropy(network(images[row]), labels[row])
        alone = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[row], b)
    (felt,) = torch.autograd.grad(sum(value.square().sum() for value in together), images)
    total = 0
    for row in range(2):
        loss = F.cross_entropy(network(images[row]), labels[row])
        total = total + sum(
            value.square().sum() for value in torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        )
    torch.testing.assert_close(felt, torch.autograd.grad(total, images)[0])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((7,), {}, r"sequences of shape \(dimensions, length\), each at least 1, got \(7,\)"),
        ((0, 7), {}, r"got \(0, 7\)"),
        ((4, 7), {"width": 0}, "width of at least 1, got 0"),
        ((4, 7), {"spans": ()}, r"at least 1 each, got \(\)"),
        ((4, 7), {"spans": (0,)}, r"at least 1 each, got \(0,\)"),
    ],
)
def test_bad_input(shape, options, message):
    with pytest.raises(ValueError, match=message):
        TextCNN(shape, 2, **options)
