"""What episodes and their naive twins share."""

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic import HardLabels, Pixels, SyntheticSet


@pytest.fixture
def synthetic(sampler):
    """Two images for each of the three classes of `sampler`."""
    batch = sampler.by_class(2, derive_generator(3))
    return SyntheticSet(
        Pixels(batch.images.flatten(0, 1)),
        HardLabels(batch.labels.flatten(), 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=2,
        mean=[0.5],
        std=[0.25],
    )


@pytest.fixture
def exact(sampler, new_network):
    """`real` and `new_network` of a method, in float64."""
    images = sampler.take(torch.arange(len(sampler))).images.double()
    real = ClassSampler(images, sampler.labels, num_classes=3, mean=[0.0], std=[1.0])
    return {"real": real, "new_network": lambda generator: new_network(generator).double()}
