"""Images of a pseudo-random basis: orthonormal, the nearest there are, made of the seed alone, and within the budget."""

import math

import pytest
import torch

from core_distill.randomness import derive_generator
from core_distill.synthetic import smooth_basis
from core_distill.synthetic.initialise import real_images
from core_distill.synthetic.precision import decode_tensors, encode_tensors
from core_distill.synthetic.random_basis import RandomBasis
from core_distill.synthetic.smooth_basis import SmoothBasis
from core_distill.synthetic.start import Start

CPU = torch.device("cpu")
SHAPES = [(1, 8, 8), (3, 5, 7), (2, 33, 20), (1, 37), (40,)]


@pytest.fixture
def start(sampler, new_network):
    return Start(
        real=sampler,
        images_per_class=2,
        initialise=real_images,
        new_network=new_network,
        generator=derive_generator(0),
    )


def matrix(basis):
    """The basis as rows `(m, values of an image)`, read off one coefficient at a time."""
    return basis.build(CPU).combine(torch.eye(basis.num_coefficients)).flatten(1).double()


@pytest.mark.parametrize("smoothness", [0.0, 1.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_basis_images_are_orthonormal(shape, smoothness):
    """Also over several blocks of frequencies: (2, 33, 20) has 1,320."""
    rows = matrix(SmoothBasis(shape, 2, smoothness, 3))
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows), dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_projection_is_the_least_squares_solution(shape):
    basis = SmoothBasis(shape, 3, 1.0, 0)
    images = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))
    found = basis.build(CPU).project(images)
    expected = torch.linalg.lstsq(matrix(basis).T, images.flatten(1).T.double()).solution.T
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_every_image_is_there_without_compression():
    basis = SmoothBasis((2, 6, 5), 1, 1.0, 0).build(CPU)
    images = torch.randn(3, 2, 6, 5)
    assert torch.allclose(basis.combine(basis.project(images)), images, atol=1e-5)


def test_cosines_are_the_transform_by_its_definition():
    expected = [
        [math.sqrt((2 if f else 1) / 5) * math.cos(math.pi * f * (x + 0.5) / 5) for x in range(5)] for f in range(5)
    ]
    assert torch.allclose(smooth_basis._cosines(5), torch.tensor(expected, dtype=torch.float64))


def test_smooth_images_lose_less_in_a_smooth_basis(digits):
    images = digits.train.by_class(5, torch.Generator().manual_seed(0)).images.flatten(0, 1)

    def lost(smoothness):
        basis = SmoothBasis((1, 8, 8), 2, smoothness, 0).build(CPU)
        return (basis.combine(basis.project(images)) - images).square().sum() / images.square().sum()

    assert lost(0.0) == pytest.approx(0.5, abs=0.1)
    assert lost(1.5) < 0.6 * lost(0.0)


def test_the_seed_is_the_basis():
    first, again, other = (matrix(SmoothBasis((1, 8, 8), 2, 1.0, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_these_are_its_images_for_ever():
    """Files hold a seed: other images for it would be another set."""
    corner = matrix(SmoothBasis((1, 4, 4), 4, 1.0, 0))[:2, :3]
    assert torch.allclose(
        corner,
        torch.tensor([[0.09067, 0.011164, -0.129002], [0.155925, 0.354613, 0.300521]], dtype=torch.float64),
        atol=1e-5,
    )


@pytest.mark.parametrize("compression", [1, 2, 3, 4])
def test_bytes_are_those_of_the_budget(compression, start):
    images = RandomBasis.starting_at(start, compression=compression)
    stored = encode_tensors({f"images.{name}": value for name, value in images.state_dict().items()}, "uint8")
    assert images.num_slots == 3 * 2 * compression
    assert sum(value.nbytes for value in stored.values()) <= 3 * 2 * 64 + 8


def test_it_starts_at_what_was_drawn(start, sampler):
    start = Start(**{**vars(start), "initialise": lambda start, count: sampler.take(torch.arange(3 * count)).images})
    images = RandomBasis.starting_at(start, compression=2)
    drawn = sampler.take(torch.arange(12)).images
    basis = SmoothBasis((1, 8, 8), 2, 1.0, 0).build(CPU)
    with torch.no_grad():
        assert torch.allclose(images(torch.arange(12)), basis.combine(basis.project(drawn)), atol=1e-6)


def test_levels_keep_the_images(digits):
    start = Start(
        real=digits.train, images_per_class=5, initialise=real_images, new_network=None, generator=derive_generator(0)
    )
    images = RandomBasis.starting_at(start, smoothness=1.5)
    every = torch.arange(images.num_slots)
    with torch.no_grad():
        exact = images(every)
        held = decode_tensors(encode_tensors({"images.c": images.coefficients.detach()}, "uint8"), "uint8")
        images.coefficients.copy_(held["images.c"])
        level = (exact.max() - exact.min()) / 255
        assert (images(every) - exact).abs().mean() < level
        assert (images(every) - exact).abs().max() < 5 * level


def test_a_gradient_is_that_of_pixels_seen_from_the_basis(start):
    images = RandomBasis.starting_at(start)
    towards = torch.randn(2, 1, 8, 8)
    (images(torch.tensor([4, 1])) * towards).sum().backward()
    expected = towards.flatten(1).double() @ matrix(images.basis).T
    assert torch.allclose(images.coefficients.grad[[4, 1]].double(), expected, atol=1e-5)
    assert not images.coefficients.grad[[0, 2, 3]].any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"compression": 0}, r"compression must lie in 1\.\.64 for images \(1, 8, 8\), got 0"),
        ({"compression": 65}, r"1\.\.64"),
        ({"smoothness": -1.0}, r"smoothness must lie in \[0, 10\], got -1"),
        ({"smoothness": float("nan")}, "smoothness must lie"),
        ({"basis_seed": -1}, r"basis_seed must lie in 0\.\.2\*\*63 - 1, got -1"),
    ],
)
def test_bad_values_are_refused(values, message, start):
    with pytest.raises(ValueError, match=message):
        RandomBasis.starting_at(start, **values)


def test_coefficients_of_another_basis_are_refused():
    with pytest.raises(ValueError, match=r"coefficients must be \(slots, 32\), got \(2, 31\)"):
        RandomBasis(torch.zeros(2, 31), SmoothBasis((1, 8, 8), 2, 1.0, 0))
