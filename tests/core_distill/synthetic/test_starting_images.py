"""Where images start: at real ones of their class, or at noise that has seen nothing."""

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.synthetic.initialise import INITIALISERS, noise, real_images


@pytest.fixture
def uneven():
    """Two of three classes, with 5 and 2 images; the first pixel says which image it is, the second its class."""
    images = torch.zeros(7, 1, 1, 2)
    images[:, 0, 0, 0] = torch.arange(7)
    labels = torch.tensor([0, 0, 0, 0, 0, 2, 2])
    images[:, 0, 0, 1] = labels
    return ClassSampler(images, labels, num_classes=3, mean=[0.0], std=[1.0])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_real_images_come_class_after_class_without_repeats(uneven):
    images = real_images(uneven, 2, generator())
    assert images.shape == (4, 1, 1, 2)
    assert images[:, 0, 0, 1].tolist() == [0, 0, 2, 2]
    assert len(set(images[:, 0, 0, 0].tolist())) == 4


def test_a_class_with_fewer_images_gives_some_again(uneven):
    images = real_images(uneven, 5, generator())[:, 0, 0, 0].tolist()
    assert sorted(images[:5]) == [0, 1, 2, 3, 4]
    assert set(images[5:]) == {5, 6}


def test_noise_is_standard_normal_and_of_the_right_size(sampler):
    images = noise(sampler, 40, generator())
    assert images.shape == (120, 1, 8, 8)
    assert images.mean().abs() < 0.05
    assert abs(images.std() - 1) < 0.05


def test_noise_knows_nothing_of_the_pixels(sampler):
    other = ClassSampler(255 - sampler.images, sampler.labels, num_classes=3, mean=[0.1], std=[0.9])
    assert torch.equal(noise(sampler, 2, generator()), noise(other, 2, generator()))


@pytest.mark.parametrize("name", sorted(INITIALISERS))
def test_the_generator_decides(name, sampler):
    first, again, other = (INITIALISERS[name](sampler, 2, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
