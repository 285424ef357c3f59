import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator


@pytest.fixture
def records():
    """60 small images of 3 classes of different sizes, float, deterministic."""
    generator = derive_generator(7)
    labels = torch.tensor([0] * 30 + [1] * 20 + [2] * 10)
    images = torch.randn(60, 1, 8, 8, generator=generator) + labels.view(-1, 1, 1, 1)
    return ClassSampler(images, labels, num_classes=3, mean=[0.5], std=[0.5])
