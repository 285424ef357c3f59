"""Gradients near their usual size pass; longer ones are cut to twice it; what is usual is saved."""

import pytest
import torch

from core_distill.matching.clipping import GradientClip


def felt(clip, gradient):
    values = torch.zeros(2, 2, requires_grad=True)
    (clip(values) * gradient).sum().backward()
    return values.grad


def test_values_pass_unchanged():
    values = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.equal(GradientClip(2.0)(values), values)


def test_a_long_gradient_is_cut_and_counts():
    clip = GradientClip(2.0)
    one = torch.tensor([[0.6, 0.0], [0.0, 0.8]])
    for _ in range(3):
        torch.testing.assert_close(felt(clip, one), one)
    found = felt(clip, 100 * one)
    usual = 0.9 * 1 + 0.1 * 100
    torch.testing.assert_close(found, 2 * usual * one)
    usual = 0.9 * usual + 0.1 * 50
    torch.testing.assert_close(felt(clip, 50 * one), min(2 * usual, 50) * one)


def test_it_goes_on_where_it_was_saved():
    clip, other = GradientClip(2.0), GradientClip(2.0)
    gradient = torch.ones(2, 2)
    assert clip.state_dict() == {}
    felt(clip, gradient)
    other.load_state_dict(clip.state_dict())
    assert torch.equal(felt(other, 90 * gradient), felt(clip, 90 * gradient))
    assert not torch.equal(felt(GradientClip(2.0), 90 * gradient), felt(other, 90 * gradient))


def test_no_gradient_stays_none():
    assert torch.equal(felt(GradientClip(2.0), torch.zeros(2, 2)), torch.zeros(2, 2))


def test_a_limit_that_cuts_everything_is_refused():
    with pytest.raises(ValueError, match="more than 1 time its usual norm, got 1"):
        GradientClip(1.0)
