"""Label Solve against least squares, and the projection onto probabilities against a search."""

import pytest
import torch

from core_distill.matching import kernels
from core_distill.matching.kernels import centred_labels, label_solve, nearest_probabilities, ridge_regression
from core_distill.types import Batch


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(left, right):
    return (-0.5 * torch.cdist(left, right).square()).exp()


def real(count=30, classes=3):
    return Batch(drawn(count, 4, seed=1), torch.arange(count) % classes)


def predictions(images, targets, batch, regularisation):
    return ridge_regression(
        kernel(batch.images, images), kernel(images, images), targets, regularisation=regularisation
    )


@pytest.mark.parametrize(("count", "supports"), [(30, 6), (4, 7)], ids=["too few targets", "more than enough"])
def test_it_is_the_least_squares_solution_of_smallest_norm(count, supports):
    images, batch = drawn(supports, 4), real(count)
    found = label_solve(kernel, images, batch, num_classes=3, regularisation=0.1)
    own = kernel(images, images)
    ridge = own + 0.1 * own.trace() / supports * torch.eye(supports, dtype=torch.float64)
    influence = kernel(batch.images, images) @ torch.linalg.inv(ridge)
    expected = torch.linalg.lstsq(influence, centred_labels(batch.labels, 3).double(), driver="gelsd").solution
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_no_other_targets_predict_better():
    images, batch = drawn(6, 4), real()
    found = label_solve(kernel, images, batch, num_classes=3, regularisation=1e-3)

    def distance(targets):
        return (predictions(images, targets, batch, 1e-3) - centred_labels(batch.labels, 3)).square().sum()

    best = distance(found)
    assert all(distance(found + 0.05 * drawn(6, 3, seed=seed)) > best for seed in range(10))
    torch.testing.assert_close(found.sum(1), torch.zeros(6, dtype=torch.float64), atol=1e-6, rtol=0)


def test_permuting_the_classes_permutes_the_targets():
    images, batch, order = drawn(6, 4), real(), torch.tensor([2, 0, 1])
    found = label_solve(kernel, images, batch, num_classes=3, regularisation=0.1)
    other = label_solve(kernel, images, batch._replace(labels=order[batch.labels]), num_classes=3, regularisation=0.1)
    torch.testing.assert_close(other[:, order], found)


def test_images_that_cannot_be_told_apart_are_refused():
    with pytest.raises(ValueError, match="not positive definite with regularisation 0: raise regularisation"):
        label_solve(kernel, drawn(1, 4).repeat(3, 1), real(), num_classes=3, regularisation=0.0)


def by_bisection(row):
    """The simplex point nearest to a row: `max(row - shift, 0)`, whose sum falls as the shift grows."""
    low, high = row.min() - 1, row.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (row - middle).clamp(min=0).sum() > 1 else (low, middle)
    return (row - low).clamp(min=0)


def test_the_nearest_probabilities():
    targets = drawn(20, 5)
    found = nearest_probabilities(targets)
    torch.testing.assert_close(found, torch.stack([by_bisection(row + 0.2) for row in targets]))
    torch.testing.assert_close(found.sum(1), torch.ones(20, dtype=torch.float64))
    assert (found == 0).any()


def test_centred_probabilities_come_back():
    probabilities = drawn(8, 4).softmax(1)
    torch.testing.assert_close(nearest_probabilities(centred_labels(probabilities, 4)), probabilities)
    numbers = torch.tensor([0, 3, 1])
    torch.testing.assert_close(nearest_probabilities(centred_labels(numbers, 4)), torch.eye(4)[numbers])


def test_images_that_are_alike_get_one_answer_and_no_huge_ones():
    images = drawn(4, 4, seed=5)
    images[1] = images[0] + 1e-7
    solved = label_solve(kernel, images, real(), num_classes=3, regularisation=1e-3)
    assert solved.abs().max() < 100
    torch.testing.assert_close(solved[0], solved[1], rtol=1e-3, atol=1e-3)


def test_huge_targets_still_become_probabilities():
    found = nearest_probabilities(torch.tensor([[1e12, 2e11, -1.2e12], [0.1, 0.0, -0.1]]))
    torch.testing.assert_close(found.sum(1), torch.ones(2))
    assert found[0].tolist() == [1.0, 0.0, 0.0]


def test_a_kernel_that_a_card_made_nan_of_is_told(monkeypatch):
    monkeypatch.setattr(kernels, "_cholesky", lambda kernel, regularisation: torch.full_like(kernel, torch.nan))
    with pytest.raises(ValueError, match=r"4 synthetic images is not positive definite .* raise regularisation"):
        label_solve(kernel, drawn(4, 4), real(), num_classes=3, regularisation=1e-3)
