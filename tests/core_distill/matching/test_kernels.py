"""Ridge regression against its definition, its gradients against finite differences, and what is not solvable."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.matching import (
    centred_labels,
    kernel_regression_loss,
    label_margin,
    ridge_predictions,
    ridge_regression,
)


def drawn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_definition(target_features, support_features, support_targets, regularisation):
    """Weights on features, from stacked least squares: rows of `f` and of the square root of the penalty."""
    n, d = support_features.shape
    penalty = math.sqrt(regularisation * support_features.square().sum() / n)
    rows = torch.cat([support_features, penalty * torch.eye(d, dtype=torch.float64)])
    targets = torch.cat([support_targets, torch.zeros(d, support_targets.shape[1], dtype=torch.float64)])
    return target_features @ torch.linalg.lstsq(rows, targets).solution


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(2, 5),
    st.sampled_from([1e-4, 1e-2, 1.0, 30.0]),
)
def test_predictions_are_those_of_least_squares_with_a_penalty(supports, targets, dimensions, classes, regularisation):
    f, g, y = drawn(supports, dimensions), drawn(targets, dimensions, seed=1), drawn(supports, classes, seed=2)
    found = ridge_predictions(g, f, y, regularisation=regularisation)
    torch.testing.assert_close(found, by_definition(g, f, y, regularisation), rtol=1e-6, atol=1e-8)


def test_without_regularisation_the_supports_are_met_exactly():
    f, y = drawn(4, 9), drawn(4, 3, seed=1)
    torch.testing.assert_close(ridge_predictions(f, f, y, regularisation=0.0), y)


def test_kernels_that_are_no_products_of_features():
    cross, kernel, y = drawn(5, 4), drawn(4, 4, seed=1), drawn(4, 2, seed=2)
    kernel = kernel @ kernel.mT + 0.01
    found = ridge_regression(cross, kernel, y, regularisation=0.3)
    expected = cross @ torch.linalg.inv(kernel + 0.3 * kernel.trace() / 4 * torch.eye(4, dtype=torch.float64)) @ y
    torch.testing.assert_close(found, expected)


def test_the_regularisation_is_relative_to_the_scale_of_the_features():
    f, g, y = drawn(4, 6), drawn(5, 6, seed=1), drawn(4, 3, seed=2)
    torch.testing.assert_close(
        ridge_predictions(1000 * g, 1000 * f, y, regularisation=0.1), ridge_predictions(g, f, y, regularisation=0.1)
    )


def test_permuting_the_classes_permutes_the_predictions_and_leaves_the_loss():
    f, g = drawn(4, 6), drawn(5, 6, seed=1)
    y, z = drawn(4, 3, seed=2), drawn(5, 3, seed=3)
    order = [2, 0, 1]
    predictions = ridge_predictions(g, f, y, regularisation=0.1)
    torch.testing.assert_close(ridge_predictions(g, f, y[:, order], regularisation=0.1), predictions[:, order])
    torch.testing.assert_close(
        kernel_regression_loss(g, z[:, order], f, y[:, order], regularisation=0.1),
        kernel_regression_loss(g, z, f, y, regularisation=0.1),
    )


def test_the_loss_is_half_the_squared_distance_summed_over_classes():
    f, g, y, z = drawn(4, 6), drawn(5, 6, seed=1), drawn(4, 3, seed=2), drawn(5, 3, seed=3)
    predictions = ridge_predictions(g, f, y, regularisation=0.1)
    expected = sum(0.5 * (predictions[i, c] - z[i, c]) ** 2 for i in range(5) for c in range(3)) / 5
    torch.testing.assert_close(kernel_regression_loss(g, z, f, y, regularisation=0.1), expected)


def test_gradients_are_those_of_finite_differences():
    f, g, y, z = drawn(4, 3), drawn(5, 3, seed=1), drawn(4, 2, seed=2), drawn(5, 2, seed=3)

    def loss(supports, targets):
        return kernel_regression_loss(g, z, supports, targets, regularisation=0.05)

    assert torch.autograd.gradcheck(loss, (f.requires_grad_(), y.requires_grad_()))
    assert torch.autograd.gradcheck(label_margin, (0.1 * y.detach()).requires_grad_())


def test_the_real_side_gets_no_gradient():
    f, g, y, z = (drawn(4, 3).requires_grad_() for _ in range(4))
    kernel_regression_loss(g, z, f, y, regularisation=0.1).backward()
    assert g.grad is None
    assert z.grad is None
    assert f.grad is not None
    assert y.grad is not None


def test_float32_features_of_fewer_dimensions_than_supports_lose_nothing():
    """The condition number is 2e7: solved in float32, the predictions are off by as much as their size."""
    f, g, y = drawn(60, 8), drawn(20, 8, seed=1), drawn(60, 3, seed=2)
    f, g = f.float(), g.float()
    expected = by_definition(g.double(), f.double(), y, 1e-6)
    found = ridge_predictions(g, f, y.float(), regularisation=1e-6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


def test_autocast_does_not_reach_the_solve():
    f, g, y = (drawn(4, 6, seed=seed).float() for seed in range(3))
    outside = ridge_predictions(g, f, y[:, :3], regularisation=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        inside = ridge_predictions(g, f, y[:, :3], regularisation=0.1)
        from_half = ridge_predictions(g.bfloat16(), f.bfloat16(), y[:, :3], regularisation=0.1)
    assert torch.equal(inside, outside)
    cross, kernel = g @ f.mT, f @ f.mT
    outside_float32 = ridge_regression(cross, kernel, y[:, :3], regularisation=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ridge_regression(cross, kernel, y[:, :3], regularisation=0.1), outside_float32)
    torch.testing.assert_close(from_half, outside, rtol=0.1, atol=0.1)


def test_twins_without_regularisation_cannot_be_told_apart():
    f = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 1.0]])
    with pytest.raises(ValueError, match=r"3 synthetic images is not positive definite with regularisation 0: raise"):
        ridge_predictions(f, f, torch.eye(3), regularisation=0.0)
    assert torch.isfinite(ridge_predictions(f, f, torch.eye(3), regularisation=1e-6)).all()


def test_features_that_are_all_zero_are_refused():
    with pytest.raises(ValueError, match="not positive definite"):
        ridge_predictions(torch.zeros(2, 3), torch.zeros(4, 3), torch.eye(4), regularisation=1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_blame_the_learning_rate(value):
    f = torch.full((3, 2), value)
    with pytest.raises(ValueError, match="not finite: lower the learning rate"):
        ridge_predictions(f, f, torch.eye(3), regularisation=1e-6)


@pytest.mark.parametrize("regularisation", [-1e-6, float("nan"), float("inf")])
def test_a_regularisation_below_zero_is_refused(regularisation):
    f = drawn(3, 4)
    with pytest.raises(ValueError, match="regularisation must be a number from 0 up, got"):
        ridge_predictions(f, f, drawn(3, 2), regularisation=regularisation)


def test_labels_are_centred():
    numbers, soft = torch.tensor([1, 0]), torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    expected = torch.tensor([[-1 / 3, 2 / 3, -1 / 3], [2 / 3, -1 / 3, -1 / 3]])
    torch.testing.assert_close(centred_labels(numbers, 3), expected)
    torch.testing.assert_close(centred_labels(soft, 3), expected)
    assert centred_labels(soft.double(), 3).dtype == torch.float64


def test_the_margin_stops_at_one_over_the_number_of_classes():
    rows = torch.tensor([[0.9, 0.05, 0.05], [0.4, 0.3, 0.3], [0.3, 0.4, 0.35]], requires_grad=True)
    margin = label_margin(rows)
    assert margin.item() == pytest.approx((1 / 3 + 0.1 + 0.05) / 3)
    margin.backward()
    expected = torch.tensor([[0.0, 0, 0], [1, -1, 0], [0, 1, -1]]) / 3
    assert torch.equal(rows.grad[0], expected[0])
    torch.testing.assert_close(rows.grad[2], expected[2])
