"""Norm and pooling in the forms that are traced: PyTorch's values and derivatives, and PyTorch's own code for all else."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch.func import grad, vmap

from core_distill.engine.forms import Fused
from core_distill.randomness import derive_generator

SIDES = [(4, 6), (5, 4), (3, 3), (2, 2)]


def maps(*sides, count=3, channels=4):
    return torch.randn(count, channels, *sides, generator=derive_generator(0), dtype=torch.float64)


def affine(channels=4):
    generator = derive_generator(1)
    return [torch.randn(channels, generator=generator, dtype=torch.float64) for _ in range(2)]


def block(images, weight, bias):
    """What networks are made of; a sharp nonlinearity in place of ReLU, whose kinks finite differences meet."""
    return F.avg_pool2d(torch.tanh(F.group_norm(images, images.shape[1], weight, bias)), 2)


def fused_block(*arguments):
    with Fused():
        return block(*arguments)


@pytest.mark.parametrize("sides", SIDES)
def test_values_and_gradients_are_pytorchs(sides):
    inputs = [value.requires_grad_() for value in (maps(*sides), *affine())]
    expected, found = block(*inputs), fused_block(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(expected.shape, generator=derive_generator(2), dtype=torch.float64)
    for ours, theirs in zip(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-11)


def test_second_derivatives_by_finite_differences():
    inputs = [value.requires_grad_() for value in (maps(4, 4, count=2, channels=2), *affine(2))]
    assert torch.autograd.gradgradcheck(fused_block, inputs, rtol=1e-5, atol=1e-6)


def test_derivatives_of_derivatives_by_transforms_and_batched_ones():
    images, (weight, bias) = maps(4, 6), affine()

    def felt(form, images):
        inner = grad(lambda seen, scale: form(seen, scale, bias).square().sum(), argnums=(0, 1))
        return sum(part.square().sum() for part in inner(images, weight))

    ours, theirs = (grad(functools.partial(felt, form))(images) for form in (fused_block, block))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    many = torch.stack([images, 2 * images + 1])
    each = torch.stack([grad(functools.partial(felt, block))(one) for one in many])
    torch.testing.assert_close(vmap(grad(functools.partial(felt, fused_block)))(many), each, rtol=1e-9, atol=1e-10)


def test_bfloat16_maps_are_normalised_in_float32():
    images = maps(8, 8).bfloat16()
    weight, bias = (value.float() for value in affine())
    found = fused_block(images, weight, bias)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(
        found.double(), block(images.double(), weight.double(), bias.double()), rtol=0.02, atol=0.01
    )


def test_arguments_may_be_named():
    images, (weight, bias) = maps(4, 4), affine()
    with Fused():
        named = F.avg_pool2d(input=images, kernel_size=(2, 2), stride=2)
        normed = F.group_norm(images, num_groups=4, weight=weight, bias=bias, eps=1e-3)
    torch.testing.assert_close(named, F.avg_pool2d(images, 2))
    torch.testing.assert_close(normed, F.group_norm(images, 4, weight, bias, 1e-3))


@pytest.mark.parametrize(
    "operation",
    [
        lambda images: F.group_norm(images, 2),
        lambda images: F.group_norm(images, 4),
        lambda images: F.group_norm(images.flatten(2), 4, torch.ones(4).double(), torch.zeros(4).double()),
        lambda images: F.avg_pool2d(images, 3),
        lambda images: F.avg_pool2d(images, 2, stride=1),
        lambda images: F.avg_pool2d(images, 2, padding=1),
        lambda images: F.avg_pool2d(images, (2, 1)),
        lambda images: F.avg_pool2d(images[..., 1:], 2, ceil_mode=True),
        lambda images: F.avg_pool2d(images, 2, ceil_mode=True),
        lambda images: F.avg_pool2d(images, 2, 2, 0, False, False),
        lambda images: F.avg_pool2d(images, 2, divisor_override=3),
        lambda images: F.max_pool2d(images, 2),
    ],
)
def test_everything_else_is_pytorchs_own(operation):
    images = maps(6, 8)
    with Fused():
        found = operation(images)
    torch.testing.assert_close(found, operation(images), rtol=0, atol=0)


def test_without_pixels_to_average_pytorch_has_the_word():
    with Fused(), pytest.raises(RuntimeError, match="too small"):
        F.avg_pool2d(maps(1, 1), 2)
