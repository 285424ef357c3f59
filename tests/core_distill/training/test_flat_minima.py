"""Training towards flat minima: the direction against one written out, alone and stacked, and experts trained by it."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parameters_to_vector

from core_distill.augment import Dsa
from core_distill.networks import kind_of
from core_distill.randomness import derive_generator
from core_distill.training import expert_group
from core_distill.training.expert_settings import ExpertTraining, expert_identity
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertError
from core_distill.training.flat_minima import FlatDirection

TOY = ExpertTraining(
    num_experts=2,
    training_epochs=2,
    training_rate=0.1,
    training_batch_size=10,
    training_radius=0.3,
    training_gap_weight=0.4,
)


def by_hand(loss, weights, radius, gap_weight):
    """GSAM with ASAM's neighbourhood, of one network's weights as one vector."""
    weights = weights.detach().requires_grad_()
    (first,) = torch.autograd.grad(loss(weights), weights)
    uphill = radius * weights.detach() ** 2 * first / (weights.detach().abs() * first).norm()
    moved = (weights.detach() + uphill).requires_grad_()
    (second,) = torch.autograd.grad(loss(moved), moved)
    unit = second / second.norm()
    return second - gap_weight * (first - (first @ unit) * unit)


def loss_of(flat, inputs, labels):
    """Of a network with one hidden layer, whose weights are one vector of 24."""
    hidden = torch.tanh(inputs @ flat[:15].view(5, 3))
    return F.cross_entropy(hidden @ flat[15:].view(3, 3), labels)


@pytest.mark.parametrize(("radius", "gap_weight"), [(0.01, 0.3), (0.5, 0.0), (2.0, 1.0)])
def test_the_direction_is_the_one_written_out_for_each_network(radius, gap_weight):
    generator = derive_generator(0)
    weights, inputs = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in [(4, 24), (4, 7, 5)])
    labels = torch.randint(3, (4, 7), generator=generator)

    def gradients(parts):
        flat = torch.cat([part.reshape(4, -1) for part in parts], 1)
        found = vmap(grad(loss_of))(flat, inputs, labels)
        return [found[:, :15].view(4, 5, 3), found[:, 15:].view(4, 3, 3)]

    parts = [weights[:, :15].view(4, 5, 3), weights[:, 15:].view(4, 3, 3)]
    before = [part.clone() for part in parts]
    direction = FlatDirection(radius, gap_weight)(gradients, parts)
    assert all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))
    for network in range(4):
        found = torch.cat([part[network].flatten() for part in direction])
        wanted = by_hand(
            lambda flat, at=network: loss_of(flat, inputs[at], labels[at]), weights[network], radius, gap_weight
        )
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_on_a_parabola():
    """Of `sum(c w^2) / 2`: uphill is `radius w^2 (c w) / |c w^2|`, and what is orthogonal is left out by a weight of 1."""
    curvature, weights = torch.tensor([[1.0, 4.0]]), torch.tensor([[2.0, 1.0]])

    def gradients(parts):
        return [curvature * parts[0]]

    uphill = 0.1 * torch.tensor([[8.0, 4.0]]) / 32**0.5
    (plain,) = FlatDirection(0.1, 0.0)(gradients, [weights])
    torch.testing.assert_close(plain, curvature * (weights + uphill))
    (flat,) = FlatDirection(0.1, 1.0)(gradients, [weights])
    first, orthogonal = torch.tensor([2.0, 4.0]), plain - flat
    torch.testing.assert_close((orthogonal * plain).sum(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(orthogonal[0], first - first @ plain[0] / (plain[0] @ plain[0]) * plain[0])


def test_no_gradient_gives_no_direction():
    assert FlatDirection(0.1, 0.3)(lambda parts: [torch.zeros(2, 3)], [torch.ones(2, 3)])[0].eq(0).all()


def trained_by_hand(sampler, new_network, training):
    """An expert's parameters after its last epoch, one vector."""
    generator = derive_generator(training.training_seed, "expert", 0)
    network = new_network(generator)
    shapes = {name: value.shape for name, value in network.named_parameters()}
    weights = parameters_to_vector(network.parameters()).detach()
    velocity = torch.zeros_like(weights)
    for _ in range(training.training_epochs):
        for chosen in torch.randperm(36, generator=generator).split(training.training_batch_size):
            batch = sampler.take(chosen)
            images = Dsa().per_image(batch.images, generator)

            def loss(flat, images=images, labels=batch.labels):
                parts = flat.split([shape.numel() for shape in shapes.values()])
                named = {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
                return F.cross_entropy(functional_call(network, named, (images,)), labels)

            direction = by_hand(loss, weights, training.training_radius, training.training_gap_weight)
            velocity = training.training_momentum * velocity + direction
            weights = weights - training.training_rate * velocity
    return weights


def vector(experts, new_network, expert, epoch):
    return parameters_to_vector(experts.load(new_network(derive_generator(9)), expert, epoch).parameters())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_expert_is_trained_along_it(sampler, new_network, momentum):
    training = dataclasses.replace(TOY, training_momentum=momentum)
    experts = train_experts(sampler, new_network, training, augment=Dsa())
    ours = vector(experts, new_network, 0, 2)
    torch.testing.assert_close(ours, trained_by_hand(sampler, new_network, training), rtol=1e-3, atol=1e-4)
    plain = dataclasses.replace(training, training_radius=0.0, training_gap_weight=0.0)
    assert not torch.allclose(
        ours, vector(train_experts(sampler, new_network, plain, augment=Dsa()), new_network, 0, 2)
    )


def test_experts_at_once_are_those_trained_alone(sampler, new_network, monkeypatch):
    alone = train_experts(sampler, new_network, TOY, augment=Dsa())
    monkeypatch.setattr(expert_group, "can_stack", lambda networks: kind_of(networks[0]) is not None)
    at_once = train_experts(sampler, new_network, TOY, augment=Dsa())
    for expert in range(2):
        for epoch in range(3):
            pair = [vector(experts, new_network, expert, epoch) for experts in (at_once, alone)]
            torch.testing.assert_close(*pair, rtol=1e-3, atol=1e-4)


def test_plain_experts_are_what_they_were_and_flat_ones_are_others(sampler, new_network, tmp_path):
    plain = dataclasses.replace(TOY, training_radius=0.0, training_gap_weight=0.0)
    identity = expert_identity(sampler, new_network, plain, augment=Dsa())
    assert not {"training_radius", "training_gap_weight"} & identity.keys()
    flat = expert_identity(sampler, new_network, TOY, augment=Dsa())
    assert flat == identity | {"training_radius": 0.3, "training_gap_weight": 0.4}
    train_experts(sampler, new_network, plain, augment=Dsa(), folder=tmp_path)
    with pytest.raises(ExpertError, match=r"training_radius is null, now 0.3\); choose another folder"):
        train_experts(sampler, new_network, TOY, augment=Dsa(), folder=tmp_path)


@pytest.mark.parametrize("name", ["training_radius", "training_gap_weight"])
@pytest.mark.parametrize("value", [-0.1, float("inf"), float("nan")])
def test_values_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got {value}"):
        dataclasses.replace(TOY, **{name: value})


def test_a_weight_without_a_radius_warns():
    with pytest.warns(UserWarning, match="training_gap_weight has no effect"):
        ExpertTraining(training_gap_weight=0.3)
