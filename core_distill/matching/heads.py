"""Last layers in closed form: ridge regression from features to labels, differentiable in the labels."""

import torch
from torch import Tensor

from core_distill.matching.kernels import ridge_factor


def with_constant(features: Tensor) -> Tensor:
    """Features `(n, d)` with a last column of ones, for the bias."""
    return torch.cat((features, features.new_ones(len(features), 1)), 1)


def ridge_head(features: Tensor, labels: Tensor, *, regularisation: float) -> Tensor:
    """The weights `W (d + 1, c)` that minimise `|[f 1] W - Y|^2 + regularisation |W|^2`, the bias in the last row.

    Args:
        features: `(n, d)`, constants.
        labels: `Y (n, c)`, probabilities; the result has their dtype and is linear in them.
        regularisation: above 0, not relative to anything.

    Solved among the examples, `[f 1]^T ([f 1] [f 1]^T + regularisation I)^-1 Y`, in float64. Source: label distillation
    (arXiv 2006.08572, section 3.2). Raises `ValueError` for a regularisation of 0 or less, and as `ridge_regression`.
    """
    if not 0 < regularisation < float("inf"):
        raise ValueError(f"regularisation must be above 0, got {regularisation}")
    with torch.autocast(features.device.type, enabled=False):
        seen = with_constant(features.detach().to(torch.float64))
        kernel = seen @ seen.mT
        factor = ridge_factor(kernel, regularisation, regularisation=regularisation)
        weights = torch.cholesky_solve(labels.to(torch.float64), factor)
        return (seen.mT @ weights).to(labels.dtype)
