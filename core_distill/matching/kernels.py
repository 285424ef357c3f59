"""Kernel ridge regression from synthetic to real examples: its predictions, its loss, all pure functions of tensors.

The kernels may come from anywhere: features of a network (FRePo, RFAD) or a closed form (KIP).
"""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from core_distill.types import Batch

_SMALLEST_PART = 1e-4

Kernel = Callable[[Tensor, Tensor], Tensor]
"""`kernel(left (a, *shape), right (b, *shape)) -> (a, b)`, differentiable in both."""


def centred_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Regression targets `(n, c)` that sum to 0: class numbers `(n,)` or probabilities `(n, c)`, minus 1 / c."""
    probabilities = labels if labels.is_floating_point() else F.one_hot(labels, num_classes).to(torch.float32)
    return probabilities - 1 / num_classes


def ridge_regression(
    cross_kernel: Tensor, support_kernel: Tensor, support_targets: Tensor, *, regularisation: float
) -> Tensor:
    """Predictions `K_ts (K_ss + regularisation * tr(K_ss) / n * I)^-1 Y`, `(t, c)`, by a Cholesky decomposition.

    Args:
        cross_kernel: `K_ts (t, n)`, of targets with supports.
        support_kernel: `K_ss (n, n)`, symmetric.
        support_targets: `Y (n, c)`; the result has their dtype.
        regularisation: relative to the mean of the diagonal, from 0 up.

    Solved in the widest dtype of the three, float32 at least, whatever the autocast. Source: KIP (arXiv 2011.00050);
    FRePo (arXiv 2206.00719) and both released codes, for the scale of the regularisation.

    Raises `ValueError` where the regularised kernel is not positive definite. A CUDA device is not waited for: there the
    predictions become NaN, for the caller to find where it waits anyway.
    """
    if not 0 <= regularisation < float("inf"):
        raise ValueError(f"regularisation must be a number from 0 up, got {regularisation}")
    dtype = functools.reduce(
        torch.promote_types, (cross_kernel.dtype, support_kernel.dtype, support_targets.dtype), torch.float32
    )
    with torch.autocast(support_kernel.device.type, enabled=False):
        kernel = support_kernel.to(dtype)
        factor = ridge_factor(kernel, regularisation * kernel.diagonal().mean(), regularisation=regularisation)
        weights = torch.cholesky_solve(support_targets.to(dtype), factor)
        return (cross_kernel.to(dtype) @ weights).to(support_targets.dtype)


def ridge_factor(kernel: Tensor, ridge: Tensor | float, *, regularisation: float) -> Tensor:
    """The lower Cholesky factor of `kernel + ridge I`, `(n, n)`; `regularisation` is the value that an error names.

    Raises, and becomes NaN on a CUDA device, as `ridge_regression`.
    """
    return _cholesky(kernel + ridge * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device), regularisation)


def ridge_predictions(
    target_features: Tensor, support_features: Tensor, support_targets: Tensor, *, regularisation: float
) -> Tensor:
    """`ridge_regression` with the kernel `f f^T` of features `(t, d)` and `(n, d)`, in float64.

    The kernel's smallest eigenvalues decide the result; with fewer features than supports they are nothing but
    `regularisation`, which float32 would lose in rounding. Beside the networks the time of this does not count.
    """
    supports = support_features.to(torch.float64)
    cross_kernel = target_features.to(torch.float64) @ supports.mT
    return ridge_regression(cross_kernel, supports @ supports.mT, support_targets, regularisation=regularisation)


def kernel_regression_loss(
    target_features: Tensor,
    targets: Tensor,
    support_features: Tensor,
    support_targets: Tensor,
    *,
    regularisation: float,
) -> Tensor:
    """The mean over targets of half the squared distance of `ridge_predictions` to `targets (t, c)`, a scalar.

    Differentiable in the supports; the real side is detached. FRePo (arXiv 2206.00719), its meta-objective.
    """
    predictions = ridge_predictions(
        target_features.detach(), support_features, support_targets, regularisation=regularisation
    )
    return 0.5 * (predictions - targets.detach()).square().sum(1).mean()


def label_margin(targets: Tensor, *, most: float = 1.0) -> Tensor:
    """The mean over rows `(n, c)` of the largest minus the second largest value, each at most `most / c`; a scalar.

    FRePo's released code subtracts it from the loss, so that learned labels keep naming one class; RCIG's too, with half
    of it.
    """
    if targets.shape[1] < 2:
        raise ValueError("a margin needs at least 2 classes")
    best = targets.topk(2, dim=1).values
    return (best[:, 0] - best[:, 1]).clamp(max=most / targets.shape[1]).mean()


@torch.no_grad()
def label_solve(kernel: Kernel, images: Tensor, real: Batch, *, num_classes: int, regularisation: float) -> Tensor:
    """The targets `(n, c)` of `images (n, *shape)` whose `ridge_regression` predicts the labels of `real` best.

    The least squares solution of smallest norm, `Phi^+ Y_t` with `Phi = K_ts (K_ss + regularisation tr(K_ss) / n I)^-1`
    and `Y_t` the centred labels of the flat batch `real`, in float64: Label Solve of KIP (arXiv 2011.00050, equation 10).
    Parts of `Phi` below a ten thousandth of the largest, as images that are alike give, count as zero. Its rows sum to 0;
    `nearest_probabilities` makes labels of them. Not for the steps of a method: a card waits for it.

    Raises `ValueError` as `ridge_regression`, on a card too.
    """
    support, cross = kernel(images, images).to(torch.float64), kernel(real.images, images).to(torch.float64)
    eye = torch.eye(len(images), dtype=torch.float64, device=images.device)
    influence = ridge_regression(cross, support, eye, regularisation=regularisation)
    if not influence.isfinite().all():  # what a CPU has raised before
        raise _unsolved(support, regularisation)
    targets = centred_labels(real.labels, num_classes).to(torch.float64)
    solved: Tensor = torch.linalg.pinv(influence, rtol=_SMALLEST_PART) @ targets
    return solved.to(images.dtype)


def nearest_probabilities(targets: Tensor) -> Tensor:
    """The probabilities `(n, c)` nearest to each row of `targets + 1 / c`: centred targets as labels for cross-entropy.

    Projection onto the simplex by sorting (Duchi et al., ICML 2008, figure 1); centred probabilities come back as they were.
    """
    count = targets.shape[1]
    rows = targets - targets.amax(1, keepdim=True)  # which moves no projection, and keeps huge targets exact at the top
    ordered = rows.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(1) - 1) / torch.arange(1, count + 1, dtype=rows.dtype, device=rows.device)
    kept = (ordered > excess).sum(1, keepdim=True)
    return (rows - excess.gather(1, kept - 1)).clamp(min=0)


def _cholesky(kernel: Tensor, regularisation: float) -> Tensor:
    """The lower factor; on a CUDA device all NaN where there is none, so that the host need not wait to find out."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(kernel)
    if kernel.is_cuda:
        return torch.where(failed == 0, factor, torch.nan)
    if failed:
        raise _unsolved(kernel, regularisation)
    return factor


def _unsolved(kernel: Tensor, regularisation: float) -> ValueError:
    if not torch.isfinite(kernel).all():
        return ValueError("the kernel among the synthetic images is not finite: lower the learning rate")
    return ValueError(
        f"the kernel among {len(kernel)} synthetic images is not positive definite with regularisation "
        f"{regularisation:g}: raise regularisation, use fewer images a class or a network with more features"
    )
