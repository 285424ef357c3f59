"""Real data in whitened images."""

import hashlib
from dataclasses import replace

import torch

from core_distill.data.class_sampler import ClassSampler
from core_distill.data.splits import DataSplits
from core_distill.data.whitening import Whitening, fit_zca, pixels

_CHUNK = 4096
"""Images that are turned at once."""


def whiten(data: DataSplits, whitening: Whitening | float = 0.1) -> DataSplits:
    """The same data in whitened images, float32 in memory, by `whitening` or one of that epsilon, fitted to its training images.

    >>> whiten(load_data("digits"), 0.1).whitening.num_bytes
    16640

    What is distilled of them is a set of whitened images: whoever trains on it passes test images through the same
    whitening, which costs `whitening.num_bytes`, for large images far more than the set does.

    Raises `ValueError` for data that stays on disk, is whitened already or no images, and what `fit_zca` raises.
    """
    if data.whitening is not None:
        raise ValueError(f"{data.name} is whitened already")
    if len(data.train.image_shape) != 3:
        raise ValueError(f"{data.name} holds no images, and only images are whitened: leave whitening out")
    if data.train.is_on_disk:
        raise ValueError(f"{data.name} stays on disk, and whitened images are kept in memory: leave whitening out")
    found = whitening if isinstance(whitening, Whitening) else fit_zca(data.train, epsilon=whitening)
    train, validation, test = (_whitened(part, found) for part in (data.train, data.validation, data.test))
    return replace(data, train=train, validation=validation, test=test, public_normalisation=False, whitening=found)


def _whitened(part: ClassSampler, whitening: Whitening) -> ClassSampler:
    """Named by what it was made of, since its last bits may differ with the number of threads."""
    channels = part.image_shape[0]
    made = ClassSampler(
        torch.cat([whitening(pixels(piece)) for piece in part.images.split(_CHUNK)]),
        part.labels,
        num_classes=part.num_classes,
        mean=[0.0] * channels,
        std=[1.0] * channels,
    )
    origin = f"{part.digest()} zca {whitening.epsilon!r} {whitening.fitted_on}"
    return made.named(hashlib.sha256(origin.encode()).hexdigest()[:16])
