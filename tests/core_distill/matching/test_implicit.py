"""Implicit differentiation against exact inverses, an unrolled run, finite differences of retraining, and each other."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from core_distill.engine import Engine, mean_loss, parameters_of, running_on, squared_error
from core_distill.matching.implicit import at_minimum, conjugate_gradient, neumann
from core_distill.matching.unrolling import train_unrolled
from core_distill.networks import MLP, ConvNet, batch_norm, network_factory
from core_distill.randomness import derive_generator
from core_distill.types import Batch

DECAY = 0.1


@pytest.fixture
def classifier():
    """A linear classifier of 4 numbers into 3 classes, in float64: with weight decay it has one minimum."""
    return network_factory(functools.partial(MLP, hidden=()), (4,), 3)(derive_generator(0)).double()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    return Batch(images, torch.rand(6, 3, dtype=torch.float64, generator=generator).softmax(-1))


@pytest.fixture
def judge():
    generator = torch.Generator().manual_seed(2)
    return Batch(torch.randn(9, 4, dtype=torch.float64, generator=generator), torch.arange(9) % 3)


def naive_loss(network, parameters, batch):
    """With weight decay, through autograd alone."""
    named = dict(zip(dict(network.named_parameters()), parameters, strict=True))
    decay = sum(value.square().sum() for value in parameters)
    return F.cross_entropy(functional_call(network, named, (batch.images,)), batch.labels) + 0.5 * DECAY * decay


def minimum(network, batch):
    """By Newton's method."""
    values = [value.clone().requires_grad_() for value in parameters_of(network)]
    flat = torch.cat([value.flatten() for value in values])

    def of_flat(flat):
        parts = flat.split([value.numel() for value in values])
        parts = [part.view_as(value) for part, value in zip(parts, values, strict=True)]
        return naive_loss(network, parts, Batch(*(value.detach() for value in batch[:2])))

    for _ in range(20):
        gradient, hessian = torch.func.grad(of_flat)(flat), torch.func.jacrev(torch.func.grad(of_flat))(flat)
        flat = flat - torch.linalg.solve(hessian, gradient)
    assert torch.func.grad(of_flat)(flat.detach()).norm() < 1e-12
    parts = flat.detach().split([value.numel() for value in values])
    return [part.view_as(value) for part, value in zip(parts, values, strict=True)], hessian.detach()


def learned(batch):
    return Batch(*(value.clone().requires_grad_() for value in batch[:2]))


def gradients(network, trained, batch, judge, **options):
    """What images and labels feel of the judge's loss at the minimum."""
    batch = learned(batch)
    ends = at_minimum(network, trained, batch, weight_decay=DECAY, **options)
    return torch.autograd.grad(mean_loss(network, ends, judge), batch[:2])


def exact_gradients(network, trained, hessian, batch, judge):
    """`-v H^-1 d2L/dtheta dS`, with the inverse of the whole matrix and the second derivatives of autograd."""
    batch = learned(batch)
    values = [value.clone().requires_grad_() for value in trained]
    slope = torch.autograd.grad(naive_loss(network, values, batch), values, create_graph=True)
    named = dict(zip(dict(network.named_parameters()), values, strict=True))
    felt = torch.autograd.grad(F.cross_entropy(functional_call(network, named, (judge.images,)), judge.labels), values)
    solved = torch.linalg.inv(hessian) @ torch.cat([value.flatten() for value in felt])
    product = -(torch.cat([value.flatten() for value in slope]) * solved).sum()
    return torch.autograd.grad(product, batch[:2])


@pytest.mark.parametrize(("inverse", "terms"), [(conjugate_gradient, 15), (neumann, 300)], ids=["cg", "neumann"])
@pytest.mark.parametrize("piece", [0, 2])
def test_it_is_the_exact_inverse_hessian(classifier, batch, judge, inverse, terms, piece):
    trained, hessian = minimum(classifier, batch)
    with running_on(Engine(piece=piece)):
        ours = gradients(classifier, trained, batch, judge, inverse=inverse, terms=terms, rate=1.0)
    for found, wanted in zip(ours, exact_gradients(classifier, trained, hessian, batch, judge), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-11)
        assert wanted.abs().max() > 1e-4


def test_it_is_how_the_minimum_moves(classifier, batch, judge):
    """Finite differences of minimising again: nothing of the theory is used."""
    trained, _ = minimum(classifier, batch)
    to_images, to_labels = gradients(classifier, trained, batch, judge, inverse=conjugate_gradient, terms=15, rate=0.5)
    for place, felt in ((0, to_images), (1, to_labels)):
        direction = torch.randn(felt.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        values = []
        for sign in (1, -1):
            moved = list(batch[:2])
            moved[place] = moved[place] + sign * 1e-4 * direction
            ends, _ = minimum(classifier, Batch(*moved))
            values.append(mean_loss(classifier, ends, judge))
        torch.testing.assert_close((felt * direction).sum(), (values[0] - values[1]) / 2e-4, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_a_neumann_series_is_backpropagation_through_as_many_steps_at_the_minimum(judge, terms):
    """At any number of terms: with squared errors on few images the minimum is exact, without decay."""
    network = network_factory(functools.partial(MLP, hidden=()), (4,), 3)(derive_generator(0)).double()
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    labels = network(images).detach()
    rate, start = 0.1, parameters_of(network)
    found = []
    for unrolled in (False, True):
        batch = learned(Batch(images, labels))
        if unrolled:
            ends = train_unrolled(
                network,
                start,
                batch.images,
                batch.labels,
                lambda step, images, labels: Batch(images, labels),
                steps=terms,
                step_size=torch.tensor(rate, dtype=torch.float64),
                loss=squared_error,
            )
        else:
            ends = at_minimum(network, start, batch, terms=terms, rate=rate, loss=squared_error)
        found.append(torch.autograd.grad(mean_loss(network, ends, judge), batch[:2]))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-13)
        assert theirs.abs().max() > 1e-4


def test_neumann_and_conjugate_gradients_meet():
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(6, 6, dtype=torch.float64, generator=generator)
    matrix = root @ root.mT / 6 + torch.eye(6, dtype=torch.float64)
    vector = torch.randn(6, dtype=torch.float64, generator=generator)

    def product(parts):
        return tuple((matrix @ torch.cat(parts)).split([2, 4]))

    parts = tuple(vector.split([2, 4]))
    wanted = torch.linalg.solve(matrix, vector)
    distances = {}
    for name, inverse in (("neumann", neumann), ("cg", conjugate_gradient)):
        distances[name] = [
            (torch.cat(inverse(product, parts, terms=terms, rate=0.2)) - wanted).norm() for terms in (1, 3, 6, 200)
        ]
        assert all(later <= before for before, later in zip(distances[name], distances[name][1:], strict=False))
        assert distances[name][-1] < 1e-10
    assert distances["cg"][2] < 1e-10 < distances["neumann"][2]


def test_conjugate_gradients_end_where_the_matrix_bends_down():
    curvatures = torch.tensor([2.0, -1.0], dtype=torch.float64)

    def product(parts):
        return (curvatures * parts[0],)

    down = torch.tensor([0.0, 1.0], dtype=torch.float64)
    up = torch.tensor([1.0, 0.0], dtype=torch.float64)
    nothing = torch.zeros(2, dtype=torch.float64)
    for vector, wanted in ((down, nothing), (up, up / 2), (nothing, nothing)):
        (found,) = conjugate_gradient(product, (vector,), terms=5, rate=0.0)
        assert torch.equal(found, wanted)


def test_the_values_are_those_that_were_trained(classifier, batch):
    trained = [value + 1 for value in parameters_of(classifier)]
    ends = at_minimum(classifier, trained, learned(batch), terms=1, rate=0.1)
    assert all(map(torch.equal, ends, trained))
    assert all(value.requires_grad for value in ends)


def test_weights_of_examples_count(classifier, batch, judge):
    """A weight of 0 is an example that is not there."""
    kept = Batch(batch.images[:4], batch.labels[:4])
    trained, _ = minimum(classifier, kept)
    options = {"inverse": conjugate_gradient, "terms": 15, "rate": 0.5, "weight_decay": DECAY}
    images, labels = learned(batch)[:2]
    weights = torch.tensor([1.0, 1, 1, 1, 0, 0], dtype=torch.float64)
    ends = at_minimum(classifier, trained, Batch(images, labels, weights), **options)
    found = torch.autograd.grad(mean_loss(classifier, ends, judge), images)[0]
    alone = gradients(classifier, trained, kept, judge, inverse=conjugate_gradient, terms=15, rate=0.5)
    torch.testing.assert_close(found[:4], alone[0])
    assert found[4:].abs().max() == 0


def test_what_does_not_fit_is_refused(batch):
    network = network_factory(functools.partial(ConvNet, width=4, depth=2, norm=batch_norm), (1, 8, 8), 3)
    network = network(derive_generator(0))
    images = Batch(torch.randn(3, 1, 8, 8), torch.arange(3))
    with pytest.raises(ValueError, match="normalises over the batch"):
        at_minimum(network, parameters_of(network), images, terms=1, rate=0.1)
    for inverse in (neumann, conjugate_gradient):
        with pytest.raises(ValueError, match="terms must be at least 1, got 0"):
            inverse(lambda vector: vector, (torch.ones(2),), terms=0, rate=0.1)
