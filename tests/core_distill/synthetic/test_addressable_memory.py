"""Sums of shared bases: against loops, as many as the bytes pay for, started at principal components or at small numbers."""

import math

import pytest
import torch
import torch.nn.functional as F

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic.addressable_memory import AddressableMemory
from core_distill.synthetic.start import Start


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def first_images(start, images_per_class):
    """The first images of each class, again and again: no random number decides."""
    rows = [start.real.of_class(number) for number in start.real.classes.tolist()]
    return torch.cat([start.real.take(row[torch.arange(images_per_class) % len(row)]).images for row in rows])


def start_on(shape=(1, 8, 8), images_per_class=2, images=None):
    if images is None:
        images = drawn(30, *shape)
    channels = images.shape[1]
    real = ClassSampler(
        images, torch.arange(len(images)) % 3, num_classes=3, mean=[0.0] * channels, std=[1.0] * channels
    )
    return Start(
        real=real,
        images_per_class=images_per_class,
        initialise=first_images,
        new_network=None,
        generator=derive_generator(0),
    )


def test_an_image_is_a_sum_of_bases_enlarged():
    bases, coefficients = drawn(5, 2, 3, 4), drawn(6, 5, seed=1)
    made = AddressableMemory(bases, coefficients, size=(6, 7))(torch.tensor([4, 0])).detach()
    for row, slot in enumerate((4, 0)):
        small = sum(coefficients[slot, k] * bases[k] for k in range(5))
        expected = F.interpolate(small[None], size=(6, 7), mode="bilinear", align_corners=False)[0]
        assert torch.allclose(made[row], expected, atol=1e-5)


def test_every_class_feels_the_bases():
    made = AddressableMemory(drawn(2, 1, 2, 2), drawn(3, 2, seed=1), size=(4, 4))
    made(torch.tensor([1])).sum().backward()
    assert (made.bases.grad != 0).all()
    assert (made.coefficients.grad != 0).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("shape", "images_per_class", "bases", "downscale"),
    [((1, 8, 8), 2, 4, 2), ((3, 9, 7), 3, 16, 2), ((1, 8, 8), 9, 2, 1)],
)
def test_slots_are_what_the_bases_leave_of_the_budget(shape, images_per_class, bases, downscale):
    start = start_on(shape, images_per_class)
    made = AddressableMemory.starting_at(start, bases=bases, downscale=downscale)
    budget = 3 * images_per_class * math.prod(shape)
    stored = made.bases.numel() + made.coefficients.numel()
    assert stored <= budget < stored + 3 * bases
    assert made(torch.arange(1)).shape == (1, *shape)


def test_the_released_example_has_115_slots_a_class():
    images = torch.zeros(10, 3, 32, 32)
    real = ClassSampler(images, torch.arange(10), num_classes=10, mean=[0.0] * 3, std=[1.0] * 3)
    start = Start(
        real=real, images_per_class=1, initialise=first_images, new_network=None, generator=derive_generator(0)
    )
    made = AddressableMemory.starting_at(start, bases=16, downscale=2, xavier=True)
    assert (made.num_slots, made.bases.shape) == (1150, (16, 3, 16, 16))


def test_images_of_few_components_come_back_exactly():
    """Twelve images in a space of three, with bases of their full size."""
    images = (drawn(30, 3) @ drawn(3, 64, seed=1)).view(30, 1, 8, 8)
    made = AddressableMemory.starting_at(start_on(images_per_class=2, images=images), bases=3, downscale=1)
    expected = first_images(start_on(images_per_class=2, images=images), made.num_slots // 3)
    assert torch.allclose(made(torch.arange(made.num_slots)), expected, atol=1e-4)


def test_more_bases_than_components_say_nothing_at_first_and_can_still_be_learned():
    made = AddressableMemory.starting_at(start_on((1, 4, 4), 9), bases=8, downscale=2)
    small = F.avg_pool2d(first_images(start_on((1, 4, 4), 9), made.num_slots // 3), 2)
    expected = F.interpolate(small, size=(4, 4), mode="bilinear", align_corners=False)
    assert torch.allclose(made(torch.arange(made.num_slots)), expected, atol=1e-5)
    made(torch.arange(made.num_slots)).square().sum().backward()
    assert (made.coefficients.grad != 0).any(0).all()


def test_xavier_has_seen_nothing_and_is_within_its_bounds():
    first, second = (
        AddressableMemory.starting_at(start_on(images=images), bases=4, xavier=True)
        for images in (drawn(30, 1, 8, 8), drawn(30, 1, 8, 8, seed=5))
    )
    assert torch.equal(first.bases, second.bases)
    for value, (rows, columns) in ((first.bases, (4, 16)), (first.coefficients, first.coefficients.shape)):
        bound = math.sqrt(6 / (rows + columns))
        assert 0.9 * bound < value.abs().max() <= bound


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bases": 99}, "99 bases take .* use fewer bases"),
        ({"bases": 0}, "bases cannot be 0"),
        ({"downscale": 0}, "downscale"),
    ],
)
def test_what_the_budget_cannot_pay_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        AddressableMemory.starting_at(start_on(), **values)


def test_coefficients_of_other_bases_are_refused():
    with pytest.raises(ValueError, match=r"coefficients must be \(slots, 2\)"):
        AddressableMemory(drawn(2, 1, 2, 2), drawn(3, 4), size=(4, 4))
