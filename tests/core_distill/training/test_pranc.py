"""Networks in random subspaces: against the dense matrix that is never made, and on digits."""

import functools

import pytest
import torch
from torch.func import functional_call

from core_distill.engine import loss_gradient, parameters_of
from core_distill.networks import ConvNet, batch_norm, network_factory
from core_distill.networks.random_signs import random_signs
from core_distill.training import pranc
from core_distill.training.pranc import Compressed, compress
from core_distill.types import Batch


@pytest.fixture
def whole(sampler):
    return Batch(*next(sampler.all_chunks(1000))[:2])


def dense(network, count, seed):
    """The whole basis `(m, p)`, written down the slow way: one tensor of the network after the other."""
    sizes = [value.numel() for value in network.parameters()]
    rows = max(1, 2**20 // sum(sizes))
    signs = torch.cat(
        [
            random_signs(min(rows, count - start), sum(sizes), seed, "basis", number)
            for number, start in enumerate(range(0, count, rows))
        ]
    ).double()
    scales = []
    for value in network.parameters():
        fan_in = value[0].numel() if value.dim() > 1 else None
        scales += [(1 / (3 * fan_in) ** 0.5 if fan_in else 0.1) / count**0.5] * value.numel()
    return signs * torch.tensor(scales, dtype=torch.float64)


@pytest.mark.parametrize("chunk_values", [2**20, 1])
def test_parameters_and_gradients_are_those_of_the_dense_basis(chunk_values, new_network, whole, monkeypatch):
    """Also where every row of the basis is a chunk: `B g` is then made of one product a row."""
    monkeypatch.setattr(pranc, "_CHUNK_VALUES", chunk_values)
    coefficients = torch.randn(7, generator=torch.Generator().manual_seed(0))
    network, subspace = pranc._subspace_of(new_network, 3, coefficients)
    origin = [value.detach().clone().double() for value in network.parameters()]
    if chunk_values == 1:
        rows = [random_signs(1, sum(v.numel() for v in origin), 3, "basis", number) for number in range(7)]
        basis = torch.cat(rows).double() * subspace._scales.double()
    else:
        basis = dense(network, 7, 3)

    def loss(wanted):
        moved = torch.cat([value.flatten() for value in origin]) + wanted @ basis
        parts = moved.float().split([value.numel() for value in origin])
        names = [name for name, _ in network.named_parameters()]
        named = {name: part.view_as(value) for name, part, value in zip(names, parts, origin, strict=True)}
        return torch.nn.functional.cross_entropy(functional_call(network, named, (whole.images,)), whole.labels)

    subspace.write_to(network, coefficients)
    written = torch.cat([value.detach().flatten() for value in network.parameters()])
    expected = torch.cat([value.flatten() for value in origin]) + coefficients.double() @ basis
    assert torch.allclose(written.double(), expected, atol=1e-6)
    ours = subspace.project(loss_gradient(network, parameters_of(network), whole))
    theirs = torch.func.grad(loss)(coefficients.double())
    assert torch.allclose(ours.double(), theirs, rtol=1e-3, atol=1e-6)


def test_a_basis_too_large_to_keep_gives_the_same_bits(new_network, whole, monkeypatch):
    settings = {"num_coefficients": 5, "seed": 0, "epochs": 2}
    kept = compress(new_network, whole, **settings)
    monkeypatch.setattr(pranc, "_CHUNKS_KEPT", 0)
    assert torch.equal(compress(new_network, whole, **settings).coefficients, kept.coefficients)


def test_a_network_of_digits_fits_into_a_tenth_of_its_size(digits):
    train, held_out = (Batch(*next(part.all_chunks(10_000))[:2]) for part in (digits.train, digits.validation))
    new_network = network_factory(functools.partial(ConvNet, width=16, depth=2), (1, 8, 8), 10)
    size = sum(value.numel() for value in new_network(torch.Generator()).parameters())
    packed = compress(new_network, train, num_coefficients=size // 10, seed=0, epochs=15)
    assert packed.num_bytes <= size * 4 / 10 + 8

    def accuracy(network):
        with torch.no_grad():
            return (network(held_out.images).argmax(1) == held_out.labels).float().mean()

    again = Compressed(packed.coefficients.clone(), 0).restore(new_network)
    assert accuracy(again) > 0.75
    untrained = Compressed(torch.zeros_like(packed.coefficients), 0).restore(new_network)
    assert accuracy(untrained) < 0.3
    one, other = (torch.cat([v.flatten() for v in n.parameters()]) for n in (again, packed.restore(new_network)))
    assert torch.equal(one, other)


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_network(new_network, whole):
    first, again, other = (
        compress(new_network, whole, num_coefficients=4, seed=seed, epochs=1).coefficients for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("values", [{"num_coefficients": 0, "epochs": 1}, {"num_coefficients": 1, "epochs": 0}])
def test_nothing_to_train_is_refused(values, new_network, whole):
    with pytest.raises(ValueError, match="at least 1 coefficient and 1 epoch"):
        compress(new_network, whole, seed=0, **values)


def test_networks_with_batch_statistics_are_refused(whole):
    new_network = network_factory(functools.partial(ConvNet, width=4, depth=1, norm=batch_norm), (1, 8, 8), 3)
    for use in (
        lambda: compress(new_network, whole, num_coefficients=2, seed=0, epochs=1),
        lambda: Compressed(torch.zeros(2), 0).restore(new_network),
    ):
        with pytest.raises(ValueError, match=r"statistics of its batches.*: use norm=instance"):
            use()
