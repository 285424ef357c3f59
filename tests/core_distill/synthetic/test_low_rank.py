"""Images as sums of outer products: against loops, as near to what they start at as any such sum, within the bytes."""

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic.initialise import noise, real_images
from core_distill.synthetic.low_rank import LowRank, factorised
from core_distill.synthetic.start import Start


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def start_on(shape, images_per_class=2, initialise=real_images):
    images = (drawn(60, *shape).abs() * 80).clamp(0, 255).to(torch.uint8)
    channels = shape[0]
    real = ClassSampler(images, torch.arange(60) % 3, num_classes=3, mean=[0.3] * channels, std=[0.2] * channels)
    return Start(
        real=real,
        images_per_class=images_per_class,
        initialise=initialise,
        new_network=None,
        generator=derive_generator(0),
    )


def test_an_image_is_a_sum_of_outer_products():
    left, right = drawn(3, 2, 5, 4), drawn(3, 2, 4, 7, seed=1)
    made = LowRank(left, right)(torch.tensor([2, 0])).detach()
    for row, slot in enumerate((2, 0)):
        for channel in range(2):
            total = sum(torch.outer(left[slot, channel, :, r], right[slot, channel, r]) for r in range(4))
            assert torch.allclose(made[row, channel], total, atol=1e-5)


def test_no_other_matrix_of_the_rank_is_nearer():
    matrix = drawn(6, 9).double()
    left, right = factorised(matrix, 2)
    missed = (matrix - left @ right).square().sum()
    assert torch.allclose(missed, torch.linalg.svdvals(matrix)[2:].square().sum())
    assert torch.allclose(left.square().sum(0), right.square().sum(1))


def test_it_starts_near_the_drawn_images():
    start = start_on((1, 8, 8), images_per_class=4)
    made = LowRank.starting_at(start, rank=4)
    drawn_images = start_on((1, 8, 8)).draw(4)
    missed = torch.linalg.svdvals(drawn_images)[..., 4:].square().sum()
    images = made(torch.arange(12)).detach()
    assert torch.allclose((images - drawn_images).square().sum(), missed, rtol=1e-3)


def test_noise_gives_a_start_too():
    made = LowRank.starting_at(start_on((1, 8, 8), initialise=noise), rank=2)
    assert torch.isfinite(made(torch.arange(made.num_slots))).all()


@pytest.mark.parametrize(
    ("shape", "rank", "images_per_class", "expected"),
    [((1, 28, 28), 2, 1, 7), ((3, 32, 32), 2, 10, 80), ((1, 28, 28), 8, 10, 17), ((2, 9, 6), 1, 3, 10)],
)
def test_as_many_as_the_bytes_pay_for(shape, rank, images_per_class, expected):
    """The first three are those of the released settings."""
    made = LowRank.starting_at(start_on(shape, images_per_class), rank=rank)
    assert made.num_slots == 3 * expected
    stored = made.left.numel() + made.right.numel()
    assert stored <= 3 * images_per_class * shape[0] * shape[1] * shape[2]


@pytest.mark.parametrize("rank", [0, 5, 9, 1.5])
def test_a_rank_that_saves_nothing_is_refused(rank):
    with pytest.raises(ValueError, match=r"rank (cannot be|5|9)"):
        LowRank.starting_at(start_on((1, 8, 8)), rank=rank)


def test_parts_that_cannot_be_multiplied_are_refused():
    with pytest.raises(ValueError, match="cannot be multiplied"):
        LowRank(torch.zeros(2, 1, 4, 3), torch.zeros(2, 1, 2, 4))
