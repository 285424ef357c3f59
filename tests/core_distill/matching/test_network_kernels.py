"""Kernels of infinite width: against wide networks, loops over every place, and finite differences."""

import functools
import itertools
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

from core_distill.matching import network_kernels
from core_distill.matching.infinite_width import patch_average, pool_average, rectified
from core_distill.matching.network_kernels import InfiniteWidthKernel
from core_distill.networks import MLP, ConvNet, LeNet, ResNet18, instance_norm, network_factory, no_norm
from core_distill.networks.gaussian import draw_gaussian
from core_distill.randomness import derive_generator


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=derive_generator(seed), dtype=torch.float64)


def images(count=5, shape=(2, 6, 6), seed=0):
    """Some of them close to each other."""
    found = drawn(count, *shape, seed=seed)
    found[1:2] = found[:1] + 0.2 * found[1:2]
    return found


def mlp(shape=(2, 6, 6), hidden=(8, 8)):
    return network_factory(functools.partial(MLP, hidden=hidden), shape, 3)(derive_generator(0))


def convnet(shape=(2, 6, 6), width=4, depth=2, seed=0):
    return network_factory(functools.partial(ConvNet, width=width, depth=depth, norm=no_norm), shape, 3)(
        derive_generator(seed)
    )


def flat_convolutions():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, (2, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )


NETWORKS = {"dense": mlp, "pooled": convnet, "flat": flat_convolutions}


def tangent_of(network, inputs):
    """The products of one logit's gradients, with respect to standard normal numbers behind the parameters."""
    parameters = {name: value.detach() for name, value in network.named_parameters()}
    layers = dict(network.named_modules())

    def logit(values, image):
        return functional_call(network, values, (image[None],))[0, 0]

    rows = vmap(jacrev(logit), (None, 0))(parameters, inputs)
    total = 0
    for name, row in rows.items():
        layer = layers[name.rpartition(".")[0]]
        scale = math.sqrt(2 / layer.weight[0].numel()) if name.endswith("weight") else 0.1
        total = total + scale**2 * row.flatten(1) @ row.flatten(1).T
    return total


def features_kernel(network, inputs):
    """The products of the last layer's inputs, as that layer's weights and biases would spread them."""
    found = network.features(inputs)
    return 2 * found @ found.T / found.shape[1] + 0.01


def error(make, empirical, width, tangent, inputs):
    """The relative distance of one network's kernel, root mean square over a few."""
    expected = InfiniteWidthKernel(make(width, 0), tangent=tangent)(inputs, inputs)
    squares = []
    for seed in range(6):
        network = make(width, seed).double()
        draw_gaussian(network, derive_generator(seed, "wide"))
        squares.append((empirical(network, inputs) - expected).norm().square() / expected.norm().square())
    return torch.stack(squares).mean().sqrt().item()


def wide_mlp(width, seed):
    return network_factory(functools.partial(MLP, hidden=(width, width)), (2, 6, 6), 3)(derive_generator(seed))


def wide_convnet(width, seed):
    return convnet(width=width, seed=seed)


@pytest.mark.parametrize("tangent", [False, True], ids=["nngp", "ntk"])
@pytest.mark.parametrize(("make", "widths"), [(wide_mlp, (32, 512)), (wide_convnet, (12, 192))], ids=["dense", "conv"])
def test_a_wide_network_comes_close_by_one_over_the_root_of_its_width(make, widths, tangent):
    """Sixteen times the width: a quarter of the error, give or take what six networks leave to chance."""
    empirical = tangent_of if tangent else features_kernel
    narrow, wide = (error(make, empirical, width, tangent, images()) for width in widths)
    assert wide < 3 / math.sqrt(widths[1])
    assert 2.5 < narrow / wide < 6.5


def expectations(covariance, first, second):
    """By the angle, in numbers."""
    scale = math.sqrt(first * second)
    angle = math.acos(max(-1, min(1, covariance / scale)))
    value = scale * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
    return value, (math.pi - angle) / (2 * math.pi)


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("tangent", [False, True])
def test_dense_networks_written_out(depth, tangent):
    x, y = drawn(2, 5)
    network = mlp((5,), hidden=(7,) * depth)
    weight, bias = 1.3**2, 0.4**2

    def trained(value):
        return weight * value + bias

    cross, first, second = (trained((a @ b).item() / 5) for a, b in ((x, y), (x, x), (y, y)))
    through = cross
    for _ in range(depth):
        cross, slope = expectations(cross, first, second)
        first, second = first / 2, second / 2
        cross, first, second = trained(cross), trained(first), trained(second)
        through = cross + weight * slope * through
    found = InfiniteWidthKernel(network, 1.3, 0.4, tangent)(x[None], y[None])
    assert found.item() == pytest.approx(through if tangent else cross, rel=1e-10)


def test_the_expectations_of_relus_where_they_are_known():
    covariance = torch.tensor([2.0, -2.0, 0.0], dtype=torch.float64)
    values, slopes = rectified(covariance, torch.full_like(covariance, 1.0), torch.full_like(covariance, 4.0))
    torch.testing.assert_close(values, torch.tensor([1.0, 0, 1 / math.pi], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(slopes, torch.tensor([0.5, 0, 0.25], dtype=torch.float64), atol=1e-6, rtol=0)


def test_the_expectations_of_relus_are_those_of_many_draws():
    mixing = torch.tensor([[1.0, 0.0], [0.6, 0.9]], dtype=torch.float64)
    u, v = mixing @ drawn(2, 400_000)
    (value,), (slope,) = rectified(*((mixing @ mixing.T)[i, j][None] for i, j in ((0, 1), (0, 0), (1, 1))))
    assert value.item() == pytest.approx((u.relu() * v.relu()).mean().item(), abs=0.006)
    assert slope.item() == pytest.approx(((u > 0) & (v > 0)).double().mean().item(), abs=0.003)


def test_the_derivatives_of_expectations():
    covariance, first, second = drawn(6).requires_grad_(), drawn(6).abs() + 3, drawn(6, seed=1).abs() + 3
    assert torch.autograd.gradcheck(rectified, (covariance, first.requires_grad_(), second.requires_grad_()))


def test_convolutions_and_pooling_average_place_by_place():
    values = drawn(1, 4, 5, 4, 5)
    found = patch_average((3, 2), (1, 0), 2)(values)
    assert found.shape == (1, 4, 4, 4, 4)
    pooled = pool_average((2, 2))(values)
    assert pooled.shape == (1, 2, 2, 2, 2)
    for i, j, k, m in itertools.product(range(4), repeat=4):
        inside = [
            values[0, i + a - 1, j + b, k + a - 1, m + b].item()
            for a, b in itertools.product(range(3), range(2))
            if 0 <= i + a - 1 < 4 and 0 <= k + a - 1 < 4
        ]
        assert found[0, i, j, k, m].item() == pytest.approx(sum(inside) / 6)
    for i, j, k, m in itertools.product(range(2), repeat=4):
        window = values[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2, 2 * m : 2 * m + 2]
        assert pooled[0, i, j, k, m].item() == pytest.approx(window.mean().item())


def test_each_place_with_itself_is_enough_without_pooling():
    network = flat_convolutions()
    every_pair = nn.Sequential(*network[:2], nn.AvgPool2d(1), *network[2:])
    x, y = images(3), images(2, seed=1)
    for tangent in (False, True):
        alone, pairs = (InfiniteWidthKernel(net, tangent=tangent)(x, y) for net in (network, every_pair))
        torch.testing.assert_close(alone, pairs)


@pytest.mark.parametrize("tangent", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_those_of_finite_differences(name, tangent):
    kernel = InfiniteWidthKernel(NETWORKS[name](), tangent=tangent)
    x, y = images(2).requires_grad_(), images(1, seed=1)
    assert torch.autograd.gradcheck(lambda inputs: kernel(y, inputs), x, fast_mode=True)
    assert torch.autograd.gradcheck(lambda inputs: kernel(inputs, inputs), x, fast_mode=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_and_symmetry_change_nothing(name, monkeypatch):
    kernel, x, y = InfiniteWidthKernel(NETWORKS[name]()), images(5), images(3, seed=1)

    def found(left, right):
        leaf = right.clone().requires_grad_()
        values = kernel(leaf if left is right else left, leaf)
        (values * torch.arange(values.numel()).view_as(values)).sum().backward()
        return values.detach(), leaf.grad

    whole, own = found(y, x), found(x, x)
    torch.testing.assert_close(own[0], kernel(x, x.clone()))
    torch.testing.assert_close(own[0], own[0].mT)
    monkeypatch.setattr(network_kernels, "_ROOM", {"cpu": 1})
    for expected, again in ((whole, found(y, x)), (own, found(x, x))):
        torch.testing.assert_close(again[0], expected[0])
        torch.testing.assert_close(again[1], expected[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kernel_is_positive_definite_and_permutes_with_the_images(name):
    kernel, x = InfiniteWidthKernel(NETWORKS[name]()), images(6)
    values, order = kernel(x, x), torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(kernel(x[order], x[order]), values[order][:, order])
    assert values.dtype == torch.float64
    assert torch.linalg.eigvalsh(values)[0] > 0


@pytest.mark.parametrize("bias", [0.0, 0.1])
@pytest.mark.parametrize("name", NETWORKS)
def test_twins_and_images_of_nothing_have_finite_gradients(name, bias):
    x = images(3)
    x[1], x[2] = x[0], 0
    x.requires_grad_()
    InfiniteWidthKernel(NETWORKS[name](), bias_std=bias)(x, x).sum().backward()
    assert x.grad.isfinite().all()


def test_widths_and_parameters_do_not_matter():
    x = images(3)
    torch.testing.assert_close(
        InfiniteWidthKernel(convnet(width=2))(x, x), InfiniteWidthKernel(convnet(width=8, seed=4))(x, x)
    )


def strided():
    return nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))


def normed():
    return ConvNet((1, 8, 8), 3, width=4, depth=2, norm=instance_norm)


def headless():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU())


class Skipping(nn.Module):
    """A residual network."""

    def __init__(self):
        super().__init__()
        self.flat, self.first, self.last = nn.Flatten(), nn.Linear(64, 64), nn.Linear(64, 3)

    def forward(self, inputs):
        flat = self.flat(inputs)
        return self.last(flat + self.first(flat))


@pytest.mark.parametrize(
    "make", [strided, normed, headless, Skipping, lambda: LeNet((1, 8, 8), 3), lambda: ResNet18((1, 8, 8), 3)]
)
def test_networks_without_a_closed_form_are_refused(make):
    x = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="use network=mlp, or network=convnet with norm=none"):
        InfiniteWidthKernel(make())(x, x)


@pytest.mark.parametrize(("weight", "bias"), [(0.0, 0.1), (1.0, -0.1), (float("inf"), 0.1)])
def test_standard_deviations_out_of_range_are_refused(weight, bias):
    with pytest.raises(ValueError, match="weight_std must be above 0 and bias_std from 0 up, got"):
        InfiniteWidthKernel(mlp(), weight, bias)
