"""A loss in the inputs, in pieces, against autograd in one piece and finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.engine import Engine, input_loss, parameters_of, running_on, squared_error
from core_distill.randomness import derive_generator
from core_distill.types import Batch


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1)).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(7, 1, 8, 8, dtype=torch.float64, generator=generator)
    return Batch(images, torch.rand(7, 3, dtype=torch.float64, generator=generator).softmax(-1))


def others(network):
    """Parameters that are not the network's own."""
    return [value + 0.1 for value in parameters_of(network)]


@pytest.mark.parametrize("piece", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradients_equal_autograd_in_one_piece(network, batch, piece, weighted):
    weights = torch.tensor([1.0, 0, 2, 1, 1, 3, 0.5], dtype=torch.float64) if weighted else None
    images, labels = (value.clone().requires_grad_() for value in batch[:2])
    with running_on(Engine(piece=piece)):
        ours = input_loss(network, others(network), Batch(images, labels, weights))
    named = dict(zip(dict(network.named_parameters()), others(network), strict=True))
    shares = torch.full((7,), 1 / 7, dtype=torch.float64) if weights is None else weights / weights.sum()
    theirs = (F.cross_entropy(functional_call(network, named, (images,)), labels, reduction="none") * shares).sum()
    torch.testing.assert_close(ours, theirs)
    for found, wanted in zip(*(torch.autograd.grad(3 * v, [images, labels]) for v in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("learned", [(True, False), (False, True)])
def test_what_is_not_learned_gets_no_gradient(network, batch, learned):
    inputs = [value.clone().requires_grad_(is_learned) for value, is_learned in zip(batch[:2], learned, strict=True)]
    parameters = [value.requires_grad_() for value in others(network)]
    input_loss(network, parameters, Batch(*inputs), loss=squared_error).backward()
    assert tuple(value.grad is not None for value in inputs) == learned
    assert all(value.grad is None for value in [*parameters, *network.parameters()])


def test_class_numbers_and_a_batch_that_is_not_learned(network, batch):
    labels = torch.arange(7) % 3
    images = batch.images.clone().requires_grad_()
    learned = input_loss(network, parameters_of(network), Batch(images, labels))
    fixed = input_loss(network, parameters_of(network), Batch(batch.images, labels))
    assert not fixed.requires_grad
    torch.testing.assert_close(fixed, F.cross_entropy(network(batch.images), labels))
    torch.testing.assert_close(learned.detach(), fixed)
    assert torch.autograd.gradcheck(
        lambda images: input_loss(network, parameters_of(network), Batch(images, labels[:2])),
        images[:2].detach().requires_grad_(),
    )


def test_compiled_it_is_the_same(new_network, batch):
    network = new_network(derive_generator(1))
    images, labels = batch.images.float().requires_grad_(), torch.arange(7) % 3
    found = []
    for compile_ in (False, True):
        with running_on(Engine(compile=compile_)) as session:
            session.long = True
            value = input_loss(network, parameters_of(network), Batch(images, labels))
            assert not session.uncompiled
        found.append((value.detach(), *torch.autograd.grad(value, images)))
    for eager, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, eager, rtol=1e-3, atol=1e-5)
