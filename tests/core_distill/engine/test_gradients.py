"""Gradients in pieces, and their derivatives, against autograd in one piece and finite differences."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.engine import (
    Engine,
    class_gradients,
    cross_entropy,
    features,
    loss_gradient,
    mean_loss,
    parameters_of,
    running_on,
    squared_error,
)
from core_distill.engine import gradients as module
from core_distill.engine.pieces import piece_size
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch


@pytest.fixture
def network(new_network):
    return new_network(derive_generator(1)).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 5, 1, 8, 8, dtype=torch.float64, generator=generator)
    return Batch(images, torch.rand(2, 5, 3, dtype=torch.float64, generator=generator).softmax(-1))


def in_one_piece(network, parameters, images, labels, weights, loss):
    named = dict(zip(dict(network.named_parameters()), parameters, strict=True))
    losses = loss(functional_call(network, named, (images,)), labels)
    return torch.autograd.grad((losses * weights).sum() / weights.sum(), parameters, create_graph=True)


def test_a_piece_is_of_all_rows_that_a_pass_takes_together(network):
    def size(**options):
        return piece_size(Engine(piece=6), network, (1, 8, 8), 20, torch.device("cpu"), **options)

    assert [size(rows=rows) for rows in (1, 2, 3, 6, 7)] == [6, 3, 2, 1, 1]
    assert piece_size(Engine(piece=6), network, (1, 8, 8), 4, torch.device("cpu")) == 4


@pytest.fixture(params=[False, True], ids=["row by row", "all rows at once"])
def rows_together(request, monkeypatch):
    """The rows of a piece as on a CPU, and as on a card."""
    cut = module._pieces

    def at_once(job, images):
        return [(slice(0, len(images)), span) for row, span in cut(job, images) if row == 0]

    if request.param:
        monkeypatch.setattr(module, "_pieces", at_once)


@pytest.mark.usefixtures("rows_together")
@pytest.mark.parametrize("piece", [0, 1, 2, 5])
@pytest.mark.parametrize("loss", [cross_entropy, squared_error])
def test_every_derivative_equals_autograd_through_one_piece(network, batch, piece, loss):
    weights = torch.tensor([[1.0, 2, 0, 1, 1], [1, 1, 1, 1, 3]], dtype=torch.float64)
    cotangents = [torch.randn(2, *p.shape, dtype=torch.float64) for p in network.parameters()]
    found = []
    for ours in (True, False):
        images, labels = (value.clone().requires_grad_() for value in batch[:2])
        parameters = [value.clone().requires_grad_() for value in parameters_of(network)]
        if ours:
            with running_on(Engine(piece=piece)):
                gradients = class_gradients(network, parameters, Batch(images, labels, weights), loss=loss)
        else:
            rows = [in_one_piece(network, parameters, images[row], labels[row], weights[row], loss) for row in range(2)]
            gradients = [torch.stack(parts) for parts in zip(*rows, strict=True)]
        product = sum((gradient * v).sum() for gradient, v in zip(gradients, cotangents, strict=True))
        found.append([*gradients, *torch.autograd.grad(product, [images, labels, *parameters], materialize_grads=True)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_second_derivatives_by_finite_differences(network, batch):
    images, labels = (value[:1, :2].clone().requires_grad_() for value in batch[:2])
    with running_on(Engine(piece=1)):
        assert torch.autograd.gradcheck(
            lambda images, labels: class_gradients(network, parameters_of(network), Batch(images, labels)),
            (images, labels),
        )


def test_a_third_derivative_is_refused(network, batch):
    images = batch.images.clone().requires_grad_()
    gradients = class_gradients(network, parameters_of(network), batch._replace(images=images))
    (first,) = torch.autograd.grad(gradients[0].square().sum(), images, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(first.sum(), images)


def test_mean_loss_and_its_gradient(network, batch):
    images, labels = batch.images[0], batch.labels[0]
    parameters = [value.clone().requires_grad_() for value in parameters_of(network)]
    with running_on(Engine(piece=2)):
        value = mean_loss(network, parameters, Batch(images, labels))
    expected = F.cross_entropy(network(images), labels)
    torch.testing.assert_close(value, expected)
    theirs = torch.autograd.grad(expected, list(network.parameters()))
    for ours, naive in zip(torch.autograd.grad(value, parameters), theirs, strict=True):
        torch.testing.assert_close(ours, naive)


def test_the_network_is_left_alone(network, batch):
    before = [value.clone() for value in parameters_of(network)]
    images = batch.images.clone().requires_grad_()
    gradients = loss_gradient(network, parameters_of(network), Batch(images[0], batch.labels[0]))
    torch.stack([gradient.square().sum() for gradient in gradients]).sum().backward()
    assert images.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(map(torch.equal, before, parameters_of(network)))


def test_pieces_do_not_split_a_network_that_normalises_over_its_batch(batch):
    network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)(
        derive_generator(0)
    ).double()
    images, labels = batch.images[0], batch.labels[0]
    with running_on(Engine(piece=2)):
        ours = loss_gradient(network, parameters_of(network), Batch(images, labels))
    theirs = torch.autograd.grad(F.cross_entropy(network(images), labels), list(network.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_is_close_and_keeps_the_parameters_precision(new_network, sampler):
    network, batch = new_network(derive_generator(1)), sampler.by_class(8, derive_generator(0))
    exact = class_gradients(network, parameters_of(network), batch)
    with running_on(Engine(precision="bfloat16")):
        rough = class_gradients(network, parameters_of(network), batch)
    difference = torch.cat([(a - b).flatten() for a, b in zip(exact, rough, strict=True)]).norm()
    assert 0 < difference < 0.05 * torch.cat([a.flatten() for a in exact]).norm()
    assert {value.dtype for value in rough} == {torch.float32}


def test_training_a_network_between_a_loss_and_its_backward_pass_is_an_error(network, batch):
    """The backward pass computes anew, and would compute something else."""
    images = batch.images[0].clone().requires_grad_()
    loss = features(network, images).sum()
    with torch.no_grad():
        next(iter(network.parameters())).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
