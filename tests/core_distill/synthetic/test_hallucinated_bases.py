"""Bases as hallucinators show them: against one convolution at a time, within the budget, from the generator alone."""

import math

import pytest
import torch
import torch.nn.functional as F

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic.hallucinated_bases import HallucinatedBases
from core_distill.synthetic.start import Start


def first_images(start, images_per_class):
    """The first images of each class, again and again: no random number decides."""
    rows = [start.real.of_class(number) for number in start.real.classes.tolist()]
    return torch.cat([start.real.take(row[torch.arange(images_per_class) % len(row)]).images for row in rows])


def start_on(shape=(1, 8, 8), images_per_class=8, classes=3):
    images = torch.randn(20 * classes, *shape, generator=torch.Generator().manual_seed(0))
    real = ClassSampler(
        images,
        torch.arange(len(images)) % classes,
        num_classes=classes,
        mean=[0.0] * shape[0],
        std=[1.0] * shape[0],
    )
    return Start(
        real=real,
        images_per_class=images_per_class,
        initialise=first_images,
        new_network=None,
        generator=derive_generator(0),
    )


def made_on(shape=(1, 8, 8), images_per_class=8, **values):
    return HallucinatedBases.starting_at(start_on(shape, images_per_class), **values)


@pytest.mark.parametrize("single_channel", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_views_are_what_each_hallucinator_makes_of_a_base(shape, single_channel):
    made = made_on(shape, hallucinators=3, single_channel=single_channel)
    networks, channels = made.hallucinators, shape[0]
    with torch.no_grad():
        networks.scale.normal_(generator=derive_generator(1))
        networks.shift.normal_(generator=derive_generator(2))
        images = made(torch.tensor([2, 0])).unflatten(0, (2, 3))
        for row, slot in enumerate((2, 0)):
            for number in range(3):
                own = slice(number * channels, (number + 1) * channels)
                maps = F.conv2d(made.bases[slot][None], networks.encoder.weight[own], networks.encoder.bias[own])
                maps = networks.scale[own] * maps + networks.shift[own]
                shown = F.conv_transpose2d(maps, networks.decoder.weight[own], networks.decoder.bias[own])
                assert torch.allclose(images[row, number], shown[0], atol=1e-5)


def test_bases_start_at_drawn_images_and_layers_as_pytorch_starts_them():
    made = made_on((3, 8, 8), hallucinators=2)
    assert torch.equal(made.bases, first_images(start_on((3, 8, 8)), made.num_slots // 3))
    networks = made.hallucinators
    assert networks.scale.eq(1).all()
    assert networks.shift.eq(0).all()
    for layer in (networks.encoder, networks.decoder):
        for value in layer.parameters():
            assert value.abs().max() <= 1 / math.sqrt(27)
        assert layer.weight.abs().max() > 0.9 / math.sqrt(27)


def test_single_channel_bases_are_means_and_three_for_one():
    coloured, grey = (made_on((3, 8, 8), 9, hallucinators=1, single_channel=single) for single in (False, True))
    count = grey.num_slots // 3
    assert grey.bases.shape[1] == 1
    assert count >= 3 * (coloured.num_slots // 3)
    assert torch.allclose(grey.bases, first_images(start_on((3, 8, 8), 9), count).mean(1, keepdim=True))
    assert grey(torch.arange(1)).shape == (1, 3, 8, 8)


def test_near_identity_shows_bases_nearly_as_they_are():
    made = made_on((3, 8, 8), hallucinators=2, near_identity=True)
    slots = torch.arange(made.num_slots)
    with torch.no_grad():
        views = made(slots).unflatten(0, (-1, 2))
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    for number in range(2):
        pairs = torch.stack([views[:, number][inside].flatten(), made.bases.detach()[inside].flatten()])
        assert torch.corrcoef(pairs)[0, 1] > 0.9
    assert not torch.allclose(views[:, 0], views[:, 1])


@pytest.mark.parametrize(("images_per_class", "bases"), [(2, 1), (11, 10), (51, 50)])
def test_the_papers_bases_are_budgets_of_2_11_and_51(images_per_class, bases):
    start = start_on((3, 32, 32), images_per_class, classes=10)
    made = HallucinatedBases.starting_at(start, hallucinators=5)
    stored = sum(value.numel() for value in made.parameters())
    assert made.num_slots == 10 * bases
    assert stored <= 10 * images_per_class * 3072
    assert stored - made.bases.numel() == 5 * (2 * 3 * 30 * 30 + 2 * (81 + 3))


def test_a_budget_too_small_says_how_many_images_it_takes():
    with pytest.raises(ValueError, match=r"5 hallucinators take 460 of the budget's 384 bytes, .* 4 images_per_class"):
        made_on(images_per_class=2)
    assert made_on(images_per_class=4).num_slots == 3


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_a_number_of_hallucinators_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="hallucinators cannot be"):
        made_on(hallucinators=value)


def test_images_smaller_than_a_kernel_are_refused():
    with pytest.raises(ValueError, match="3x3 pixels at least, got 2x8"):
        made_on((1, 2, 8))


def test_the_global_generator_is_not_touched():
    before = torch.get_rng_state()
    made = made_on()
    HallucinatedBases.from_config(**made.config())
    assert torch.equal(torch.get_rng_state(), before)
