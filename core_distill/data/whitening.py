"""ZCA whitening: images turned so that no direction of their space varies much more than another, and back."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core_distill.data.class_sampler import ClassSampler
from core_distill.files import write_atomically

MOST_VALUES = 16_384
"""Values of an image beyond which the matrix, their square, is refused."""

CHUNK = 4096
"""Images that are turned at once."""

_KEY = "stillroom-whitening"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """`matrix @ (x - mean)` for each image `x` as one long vector of pixels from 0 to 1; uint8 counts as that.

    With the covariance of the training images `U diag(s) U^T`, the matrix is `U diag((s + epsilon) ** -0.5) U^T`: what
    varies far more than `epsilon` gets the variance 1, and an image still looks like itself. MTT (arXiv 2203.11932) and its
    relatives were published on CIFAR with an epsilon of 0.1, though not at every budget.

    Attributes: `mean (d,)` and `matrix (d, d)`, float32; `image_shape` of `d` values; `fitted_on`, the digest of the images.
    """

    mean: Tensor
    matrix: Tensor
    image_shape: tuple[int, ...]
    epsilon: float
    fitted_on: str

    @property
    def num_bytes(self) -> int:
        """What it costs to hand it on."""
        return self.mean.nbytes + self.matrix.nbytes

    def __call__(self, images: Tensor) -> Tensor:
        """`images (n, *image_shape)`, uint8 or from 0 to 1, whitened, as float32. Raises `ValueError` for another shape."""
        self._check(images)
        mean, matrix = self.mean.to(images.device), self.matrix.to(images.device)
        turned: Tensor = (_pixels(images).flatten(1) - mean) @ matrix
        return turned.view(images.shape)

    def undo(self, images: Tensor) -> Tensor:
        """Whitened `images` as pixels again, float32. Raises `ValueError` for another shape."""
        self._check(images)
        mean, matrix = self.mean.to(images.device), self.matrix.to(images.device)
        back: Tensor = torch.linalg.solve(matrix.double(), images.double().flatten(1).mT).mT
        return (back + mean).float().view(images.shape)

    def describe(self) -> dict[str, object]:
        """What an artefact says of it, as JSON values."""
        return {"kind": "zca", "epsilon": self.epsilon, "fitted_on": self.fitted_on, "bytes": self.num_bytes}

    def save(self, path: str | Path) -> None:
        """Write it as a `.safetensors` file."""
        told = {"epsilon": self.epsilon, "fitted_on": self.fitted_on, "image_shape": self.image_shape}
        tensors = {"matrix": self.matrix, "mean": self.mean}
        write_atomically(Path(path), safetensors.torch.save(tensors, {_KEY: json.dumps(told, sort_keys=True)}))

    @classmethod
    def load(cls, path: str | Path) -> "Whitening":
        """Read what `save` wrote. Raises `ValueError` where the file is something else, or damaged."""
        try:
            with safe_open(str(path), "pt") as file:
                told = json.loads(file.metadata()[_KEY])
                mean, matrix = file.get_tensor("mean"), file.get_tensor("matrix")
            shape, epsilon = tuple(int(side) for side in told["image_shape"]), float(told["epsilon"])
            size = math.prod(shape)
            if min(shape, default=0) < 1 or not 0 < epsilon < math.inf:
                raise ValueError(f"it is of {shape} images and epsilon {epsilon}")
            if mean.shape != (size,) or matrix.shape != (size, size) or {mean.dtype, matrix.dtype} != {torch.float32}:
                raise ValueError(f"mean {tuple(mean.shape)} and matrix {tuple(matrix.shape)} are not of {shape} images")
            if not (mean.isfinite().all() and matrix.isfinite().all()):
                raise ValueError("it holds NaN or infinite values")
            return cls(mean=mean, matrix=matrix, image_shape=shape, epsilon=epsilon, fitted_on=str(told["fitted_on"]))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a whitening of stillroom, or a damaged one: {error}") from error

    def _check(self, images: Tensor) -> None:
        if tuple(images.shape[1:]) != self.image_shape:
            raise ValueError(f"this whitening is for images of {self.image_shape}, got {tuple(images.shape[1:])}")


def fit_zca(train: ClassSampler, *, epsilon: float = 0.1) -> Whitening:
    """The whitening of the images that `train` holds, in double precision.

    Raises `ValueError` for an epsilon of 0 or less, and for images of more than `MOST_VALUES` values.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"whitening needs an epsilon above 0, such as 0.1, got {epsilon}")
    size = math.prod(train.image_shape)
    if size > MOST_VALUES:
        raise ValueError(
            f"whitening takes a matrix of {size:,} x {size:,} numbers for such images; it is for those of at most "
            f"{MOST_VALUES:,} values: make the images smaller, or leave whitening out"
        )
    images, total = train.images, torch.zeros(size, dtype=torch.float64)
    for piece in images.split(CHUNK):
        total += _vectors(piece).sum(0)
    mean, products = total / len(images), torch.zeros(size, size, dtype=torch.float64)
    for piece in images.split(CHUNK):
        away = _vectors(piece) - mean
        products += away.mT @ away
    values, vectors = torch.linalg.eigh(products / max(1, len(images) - 1))
    matrix = (vectors * (values.clamp(min=0) + epsilon).rsqrt()) @ vectors.mT
    return Whitening(
        mean=mean.float(),
        matrix=matrix.float(),
        image_shape=train.image_shape,
        epsilon=epsilon,
        fitted_on=train.digest(),
    )


def _pixels(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def _vectors(images: Tensor) -> Tensor:
    return _pixels(images).double().flatten(1).cpu()
