"""The ridge head against least squares over padded rows, and against its own normal equations."""

import pytest
import torch

from core_distill.matching.heads import ridge_head, with_constant
from core_distill.randomness import derive_generator


@pytest.mark.parametrize(("count", "width"), [(4, 7), (9, 3)])
@pytest.mark.parametrize("regularisation", [0.1, 1.0])
def test_it_is_the_least_squares_solution_of_the_padded_problem(count, width, regularisation):
    generator = derive_generator(0)
    features = torch.randn(count, width, generator=generator, dtype=torch.float64)
    labels = torch.randn(count, 3, generator=generator, dtype=torch.float64).softmax(-1)
    padded = torch.cat((with_constant(features), regularisation**0.5 * torch.eye(width + 1, dtype=torch.float64)))
    wanted = torch.linalg.lstsq(padded, torch.cat((labels, labels.new_zeros(width + 1, 3)))).solution
    torch.testing.assert_close(ridge_head(features, labels, regularisation=regularisation), wanted)


def test_labels_feel_it_and_features_do_not():
    features = torch.randn(4, 3, generator=derive_generator(0), requires_grad=True)
    labels = torch.full((4, 2), 0.5, requires_grad=True)
    head = ridge_head(features, labels, regularisation=1.0)
    assert head.dtype == torch.float32
    head[0, 0].backward()
    assert features.grad is None
    assert labels.grad[:, 0].abs().min() > 0
    assert torch.equal(labels.grad[:, 1], torch.zeros(4))


@pytest.mark.parametrize("regularisation", [0.0, -1.0, float("inf")])
def test_bad_input(regularisation):
    with pytest.raises(ValueError, match="regularisation must be above 0"):
        ridge_head(torch.ones(2, 2), torch.ones(2, 2), regularisation=regularisation)


def test_features_that_no_ridge_tells_apart_are_refused():
    features = 100 * torch.randn(50, 10, generator=derive_generator(0))
    with pytest.raises(ValueError, match="not positive definite with regularisation 1e-14: raise regularisation"):
        ridge_head(features, torch.full((50, 2), 0.5), regularisation=1e-14)
