"""Parts of stored images, enlarged: against a slow twin, and where images cannot be cut evenly."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic import Pixels
from core_distill.synthetic.initialise import real_images
from core_distill.synthetic.multi_formation import MultiFormation
from core_distill.synthetic.start import Start


def stored(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def slow(image, factor):
    """All parts of one image `(c, h, w)`, row by row, cut where the released code starts its own images."""
    _, height, width = image.shape
    parts, top = [], 0
    for i in range(factor):
        h = height // factor + (i < height % factor)
        left = 0
        for j in range(factor):
            w = width // factor + (j < width % factor)
            part = image[None, :, top : top + h, left : left + w]
            parts.append(F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)[0])
            left += w
        top += h
    return parts


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7), (2, 4, 11)])
def test_each_part_of_each_image_is_enlarged(shape, factor):
    images = stored(4, *shape)
    made = MultiFormation(images, factor=factor)
    slots = torch.tensor([3, 1, 1])
    expected = torch.stack([part for slot in slots for part in slow(images[slot], factor)])
    assert made.views == factor**2
    assert made(slots).shape == expected.shape
    assert torch.allclose(made(slots), expected, atol=1e-6)


def test_a_factor_of_one_is_pixels():
    images = stored(3, 1, 5, 6)
    slots = torch.tensor([2, 0])
    assert torch.equal(MultiFormation(images, factor=1)(slots), Pixels(images)(slots))


def test_a_view_feels_its_own_part_alone():
    made = MultiFormation(stored(2, 1, 4, 4), factor=2)
    made(torch.tensor([1]))[3].sum().backward()
    felt = made.pixels.grad != 0
    assert felt[1, 0, 2:, 2:].all()
    assert felt.sum() == 4


@pytest.fixture
def real():
    """Every image is one number: 10 times its class plus its place."""
    labels = torch.arange(24) % 2
    numbers = 10.0 * labels + torch.arange(24) // 2
    return ClassSampler(numbers.view(-1, 1, 1, 1).expand(-1, 1, 5, 7), labels, num_classes=2, mean=[0.0], std=[1.0])


def start_on(real, images_per_class):
    return Start(
        real=real,
        images_per_class=images_per_class,
        initialise=real_images,
        new_network=None,
        generator=derive_generator(0),
    )


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_it_starts_as_a_mix_of_different_real_images_of_its_class(real, factor):
    made = MultiFormation.starting_at(start_on(real, 1), factor=factor)
    views = made(torch.arange(2)).detach().unflatten(0, (2, -1))
    assert torch.allclose(views, views[:, :, :, :1, :1].expand_as(views))
    for label in (0, 1):
        numbers = set(views[label, :, 0, 0, 0].round().int().tolist())
        assert len(numbers) == factor**2
        assert numbers <= {10 * label + place for place in range(12)}


def test_it_costs_what_pixels_cost(real):
    made = MultiFormation.starting_at(start_on(real, 3), factor=2)
    assert (made.num_slots, made.pixels.shape) == (6, (6, 1, 5, 7))


@pytest.mark.parametrize("factor", [0, -1, 6, 2.0, True])
def test_a_factor_out_of_range_is_refused(real, factor):
    with pytest.raises(ValueError, match="factor"):
        MultiFormation.starting_at(start_on(real, 1), factor=factor)


def test_images_that_are_none_are_refused(real):
    flat = ClassSampler(torch.zeros(4, 6), torch.arange(4) % 2, num_classes=2, mean=[0.0] * 6, std=[1.0] * 6)
    with pytest.raises(ValueError, match=r"made of images \(c, h, w\), not of \(6,\): use pixels"):
        MultiFormation.starting_at(dataclasses.replace(start_on(real, 1), real=flat))
