"""Two products with small matrices give what PyTorch's own interpolation gives, forwards and backwards."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.synthetic.resizing import resized, shrunk

SIDE = st.integers(1, 9)


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@settings(deadline=None)
@given(SIDE, SIDE, SIDE, SIDE)
def test_any_size_to_any_other(height, width, to_height, to_width):
    images = drawn(2, 3, height, width)
    expected = F.interpolate(images, size=(to_height, to_width), mode="bilinear", align_corners=False)
    assert torch.allclose(resized(images, (to_height, to_width)), expected)


def test_the_gradient_is_that_of_interpolation():
    images, cotangents = drawn(2, 1, 3, 5).requires_grad_(), drawn(2, 1, 8, 9)
    expected = F.interpolate(images, size=(8, 9), mode="bilinear", align_corners=False)
    ours, theirs = (torch.autograd.grad(made, images, cotangents)[0] for made in (resized(images, (8, 9)), expected))
    assert torch.allclose(ours, theirs)


def test_the_same_size_changes_no_bit():
    images = drawn(2, 3, 5, 7).float()
    assert torch.equal(resized(images, (5, 7)), images)


@pytest.mark.parametrize("size", [(4, 4), (3, 2), (8, 8)])
def test_shrinking_keeps_the_mean_of_what_is_covered(size):
    images = drawn(1, 1, 8, 8)
    if size == (4, 4):
        assert torch.allclose(shrunk(images, size)[0, 0, 1, 2], images[0, 0, 2:4, 4:6].mean())
    if size == (8, 8):
        assert torch.equal(shrunk(images, size), images)
    assert shrunk(torch.ones(1, 1, 8, 8), size).eq(1).all()
