"""Covariances of infinitely wide networks, layer by layer: the closed forms behind the NNGP kernel and the tangent kernel.

Sources: Cho & Saul (NIPS 2009) and Jacot et al. (arXiv 1806.07572) for ReLU and dense layers; Arora et al. (arXiv
1904.11955) for convolutions and pooling. Weights are `weight_std / sqrt(fan_in)` and biases `bias_std` times standard
normal numbers, which are what gradients are taken of.

A covariance of two examples is one number where layers give vectors (0 `places`). Where they give maps it is `(h, w)`, each
place with itself (1), or `(h, w, h, w)`, each place of the first with each of the second (2), which pooling needs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Averaging(NamedTuple):
    """A layer that averages covariances, such as those in a patch; a `trained` one has weights and biases too."""

    average: Callable[[Tensor], Tensor]
    trained: bool


class Rectifier(NamedTuple):
    """A ReLU on covariances with this many `places`."""

    places: int


Layer = Averaging | Rectifier


class Scale(NamedTuple):
    """Standard deviations of weights (times the root of the fan-in) and biases."""

    weight_std: float
    bias_std: float

    def applied(self, values: Tensor) -> Tensor:
        """What a trained layer makes of the averaged covariances of its inputs."""
        return self.weight_std**2 * values + self.bias_std**2


_NOISE = 1e-14
"""Below this share of `variance * variance`, what `variance * variance - covariance^2` leaves in float64 is rounding."""


def input_products(left: Tensor, right: Tensor, places: int) -> Tensor:
    """`(a, *shape)` and `(b, *shape)`: their products `(a, b, *grid)`, means over channels, or over everything."""
    if not places:
        left, right = left.flatten(1), right.flatten(1)
        return left @ right.mT / left.shape[1]
    form = "achw,bchw->abhw" if places == 1 else "achw,bcij->abhwij"
    return torch.einsum(form, left, right) / left.shape[1]


def own_products(images: Tensor, places: int) -> Tensor:
    """`input_products` of each image with itself, `(n, *grid)`."""
    if not places:
        return images.flatten(1).square().mean(1)
    form = "nchw,nchw->nhw" if places == 1 else "nchw,ncij->nhwij"
    return torch.einsum(form, images, images) / images.shape[1]


def variances_of(products: Tensor, layers: Sequence[Layer], scale: Scale) -> list[Tensor]:
    """The variances `(n, h, w)` or `(n,)` that every ReLU of a network meets, from `own_products`."""
    met = []
    for layer in layers:
        if isinstance(layer, Rectifier):
            variances = _diagonal(products) if layer.places == 2 else products
            met.append(variances)
            products, _ = rectified(products, _as_first(variances, layer.places), _as_second(variances, layer.places))
        else:
            products = layer.average(products)
            products = scale.applied(products) if layer.trained else products
    return met


def covariance_and_tangent(
    products: Tensor, left: Sequence[Tensor], right: Sequence[Tensor], layers: Sequence[Layer], scale: Scale
) -> tuple[Tensor, Tensor]:
    """The NNGP and the tangent kernel, from `input_products` and both sides' `variances_of`.

    The tangent kernel of a trained layer adds its own gradients' products to those that come through it (Jacot et al.,
    theorem 1; Arora et al., section 4).
    """
    tangent = torch.zeros_like(products)
    met = iter(zip(left, right, strict=True))
    for layer in layers:
        if isinstance(layer, Rectifier):
            firsts, seconds = next(met)
            first, second = _as_first(firsts, layer.places)[:, None], _as_second(seconds, layer.places)[None]
            products, slopes = rectified(products, first, second)
            tangent = tangent * slopes
        else:
            products, tangent = layer.average(products), layer.average(tangent)
            if layer.trained:
                products = scale.applied(products)
                tangent = products + scale.weight_std**2 * tangent
    return products, tangent


def rectified(covariance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """`E[relu(u) relu(v)]` and `E[relu'(u) relu'(v)]` for normal `u`, `v` of variances `first` and `second`.

    Half the arc-cosine kernels of degree 1 and 0; differentiable once. Where `u` and `v` are one number but for a factor, the
    angle between them counts as a constant, without a gradient: so it is on the diagonal of a kernel, whatever the images.
    """
    found: tuple[Tensor, Tensor] = _Rectified.apply(covariance, first, second)
    return found


class _Rectified(torch.autograd.Function):
    """`rectified`; with `s = sqrt(first second - c^2)` the derivatives are those of `(s + (pi - angle) c) / (2 pi)`."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        product = first * second
        sine = (product - covariance.square()).sub_(_NOISE * product).clamp_(min=0).sqrt_()
        slopes = 0.5 - torch.atan2(sine, covariance) / (2 * math.pi)
        ctx.save_for_backward(covariance, first, second, sine, slopes)
        return sine / (2 * math.pi) + slopes * covariance, slopes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        covariance, first, second, sine, slopes = ctx.saved_tensors
        to_value, to_slopes = cotangents
        through_angle = to_slopes * torch.where(sine > 0, 1 / sine, 0)
        to_covariance = to_value * slopes + through_angle / (2 * math.pi)
        to_scale = (to_value * sine - through_angle * covariance) / (4 * math.pi)
        return to_covariance, *(
            torch.where(variance > 0, to_scale.sum_to_size(variance.shape) / variance, 0)
            for variance in (first, second)
        )


def patch_average(size: Sequence[int], padding: Sequence[int], places: int) -> Callable[[Tensor], Tensor]:
    """What a convolution of stride 1 averages: covariances at the same offsets within two patches."""

    def average(values: Tensor) -> Tensor:
        for axis in range(2):
            values = _mean_of_shifts(values, _axes(places, axis), size[axis], padding[axis])
        return values

    return average


def pool_average(size: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """What average pooling by windows side by side averages, with 2 `places`; what is left over at the ends is cut off."""

    def average(values: Tensor) -> Tensor:
        for axis in range(2):
            for dim in _axes(2, axis):
                whole = values.shape[dim] // size[axis] * size[axis]
                values = values.narrow(dim, 0, whole).unflatten(dim, (-1, size[axis])).mean(dim)
        return values

    return average


def flat_average(places: int) -> Callable[[Tensor], Tensor]:
    """What a dense layer on flattened maps averages: each place with itself."""

    def average(values: Tensor) -> Tensor:
        return (_diagonal(values) if places == 2 else values).mean((-2, -1))

    return average


def unchanged(values: Tensor) -> Tensor:
    """What a dense layer on vectors averages."""
    return values


def _diagonal(values: Tensor) -> Tensor:
    """Each place with itself, `(..., h, w, h, w)` to `(..., h, w)`."""
    return values.diagonal(dim1=-4, dim2=-2).diagonal(dim1=-3, dim2=-2)


def _as_first(variances: Tensor, places: int) -> Tensor:
    """Shaped so that they vary along the first place of a pair."""
    return variances[..., None, None] if places == 2 else variances


def _as_second(variances: Tensor, places: int) -> Tensor:
    """Shaped so that they vary along the second place of a pair."""
    return variances[:, None, None] if places == 2 else variances


def _axes(places: int, axis: int) -> Sequence[int]:
    """The dimensions of rows (axis 0) or columns (1) of all places."""
    return range(axis - 2 * places, 0, 2)


def _mean_of_shifts(values: Tensor, dims: Sequence[int], size: int, padding: int) -> Tensor:
    """The mean over `size` windows, moved along all of `dims` together, of values between `padding` zeros."""
    widths = [0] * (2 * -min(dims))
    for dim in dims:
        widths[2 * (-dim - 1)] = widths[2 * (-dim - 1) + 1] = padding
    padded = F.pad(values, widths)
    windows = []
    for offset in range(size):
        window = padded
        for dim in dims:
            window = window.narrow(dim, offset, padded.shape[dim] - size + 1)
        windows.append(window)
    return sum(windows[1:], start=windows[0]) / size
