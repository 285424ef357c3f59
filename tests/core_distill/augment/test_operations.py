"""Each operation of DSA against a slow loop over images and pixels, and the range of what it draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.augment.operations import OPERATIONS, color, crop, cutout, flip, rotate, scale
from core_distill.randomness import derive_generator


def images_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=derive_generator(seed))


def pixel(plane: np.ndarray, row: int, column: int) -> float:
    height, width = plane.shape
    return plane[row, column] if 0 <= row < height and 0 <= column < width else 0.0


def bilinear(plane: np.ndarray, row: float, column: float) -> float:
    top, left = math.floor(row), math.floor(column)
    down, right = row - top, column - left
    upper = (1 - right) * pixel(plane, top, left) + right * pixel(plane, top, left + 1)
    lower = (1 - right) * pixel(plane, top + 1, left) + right * pixel(plane, top + 1, left + 1)
    return (1 - down) * upper + down * lower


def slow_color(image, brightness, saturation, contrast):
    channels, height, width = image.shape
    image = image + brightness
    result = np.empty_like(image)
    for row in range(height):
        for column in range(width):
            grey = sum(image[:, row, column]) / channels
            for channel in range(channels):
                result[channel, row, column] = grey + saturation * (image[channel, row, column] - grey)
    mean = result.sum() / result.size
    return mean + contrast * (result - mean)


def slow_positions(image, place):
    """`place(row, column)` tells which position of the input a pixel of the output shows."""
    result = np.empty_like(image)
    for index in np.ndindex(image.shape):
        result[index] = bilinear(image[index[0]], *place(index[1], index[2]))
    return result


def slow_crop(image, down, right):
    return slow_positions(image, lambda row, column: (row + down, column + right))


def slow_cutout(image, top, left):
    _, height, width = image.shape
    result = image.copy()
    for row in range(top, top + (height + 1) // 2):
        for column in range(left, left + (width + 1) // 2):
            if 0 <= row < height and 0 <= column < width:
                result[:, row, column] = 0
    return result


def slow_flip(image, flipped):
    return image[:, :, ::-1] if flipped else image


def slow_scale(image, vertical, horizontal):
    middle, centre = (image.shape[1] - 1) / 2, (image.shape[2] - 1) / 2
    return slow_positions(
        image, lambda row, column: (middle + vertical * (row - middle), centre + horizontal * (column - centre))
    )


def slow_rotate(image, angle):
    middle, centre = (image.shape[1] - 1) / 2, (image.shape[2] - 1) / 2
    turn = complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))

    def place(row, column):
        """Screen coordinates as a complex number, x to the right and y up; the output shows what was turned here."""
        source = complex(column - centre, middle - row) * turn
        return middle - source.imag, centre + source.real

    return slow_positions(image, place)


SLOW = {
    "color": (color, slow_color),
    "crop": (crop, slow_crop),
    "cutout": (cutout, slow_cutout),
    "flip": (flip, slow_flip),
    "scale": (scale, slow_scale),
    "rotate": (rotate, slow_rotate),
}


def drawn(name: str, rows: int, height: int, width: int, seed: int) -> tuple[torch.Tensor, ...]:
    parameters = OPERATIONS[name].draw(rows, height, width, derive_generator(seed))
    return tuple(each.double() if each.is_floating_point() else each for each in parameters)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@settings(max_examples=10, deadline=None)
@given(
    height=st.integers(3, 11),
    width=st.integers(3, 11),
    channels=st.sampled_from([1, 3]),
    members=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_operations_equal_a_loop_over_images(name, height, width, channels, members, seed):
    images = images_of(3, members, channels, height, width, seed=seed)
    parameters = drawn(name, 3, height, width, seed)
    fast, slow = SLOW[name]
    result = fast(images, *parameters)
    assert result.shape == images.shape
    for row in range(3):
        values = [each[row].item() for each in parameters]
        for member in range(members):
            expected = torch.from_numpy(np.ascontiguousarray(slow(images[row, member].numpy(), *values)))
            torch.testing.assert_close(result[row, member], expected, rtol=1e-9, atol=1e-9)


def test_a_quarter_turn_is_counter_clockwise_and_exact():
    images = images_of(2, 2, 3, 7, 7)
    expected = torch.rot90(images, 1, dims=(-2, -1))
    torch.testing.assert_close(rotate(images, torch.tensor([90.0, 90.0], dtype=torch.float64)), expected)


@pytest.mark.parametrize("name", ["scale", "rotate"])
def test_resampling_square_images_equals_pytorchs_grid_sample(name):
    """An independent twin: affine_grid turns about the same centre, whatever corners are aligned to."""
    images = images_of(3, 2, 3, 9, 9)
    if name == "scale":
        vertical, horizontal = drawn("scale", 3, 9, 9, 1)
        matrices = torch.zeros(3, 2, 3, dtype=torch.float64)
        matrices[:, 0, 0], matrices[:, 1, 1] = horizontal, vertical
        result = scale(images, vertical, horizontal)
    else:
        (angles,) = drawn("rotate", 3, 9, 9, 1)
        cosine, sine = angles.deg2rad().cos(), angles.deg2rad().sin()
        zeros = torch.zeros_like(angles)
        matrices = torch.stack([cosine, -sine, zeros, sine, cosine, zeros], 1).view(3, 2, 3)
        result = rotate(images, angles)
    grid = torch.nn.functional.affine_grid(matrices, [3, 6, 9, 9], align_corners=False)
    expected = torch.nn.functional.grid_sample(images.flatten(1, 2), grid, align_corners=False)
    torch.testing.assert_close(result.flatten(1, 2), expected)


def test_neutral_parameters_change_nothing():
    images = images_of(2, 2, 3, 6, 8)
    ones, zeros = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(color(images, zeros, ones, ones), images)
    assert torch.equal(crop(images, zeros.long(), zeros.long()), images)
    assert torch.equal(cutout(images, zeros.long() - 3, zeros.long()), images)
    assert torch.equal(flip(images, zeros.bool()), images)
    assert torch.equal(scale(images, ones, ones), images)
    assert torch.equal(rotate(images, zeros), images)


def test_saturation_leaves_grey_images_alone():
    images = images_of(2, 2, 1, 4, 4)
    ones, zeros = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    torch.testing.assert_close(color(images, zeros, ones * 1.7, ones), images)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_gradients_are_those_of_finite_differences(name):
    images = images_of(2, 1, 2, 4, 5).requires_grad_()
    parameters = drawn(name, 2, 4, 5, 3)

    def changed(values):
        return SLOW[name][0](values, *parameters)

    assert torch.autograd.gradcheck(changed, images)
    assert torch.autograd.gradgradcheck(lambda values: changed(values).square(), images)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_precision_of_the_images_is_kept(name, dtype):
    parameters = OPERATIONS[name].draw(2, 8, 8, derive_generator(0))
    images = images_of(2, 1, 1, 8, 8)
    result = SLOW[name][0](images.to(dtype), *parameters)
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), SLOW[name][0](images, *parameters), rtol=0.02, atol=0.05)


DRAWN_RANGES = [
    ("color", 0, -0.5, 0.5),
    ("color", 1, 0.0, 2.0),
    ("color", 2, 0.5, 1.5),
    ("scale", 0, 1 / 1.2, 1.2),
    ("scale", 1, 1 / 1.2, 1.2),
    ("rotate", 0, -15.0, 15.0),
]


@pytest.mark.parametrize(("name", "which", "low", "high"), DRAWN_RANGES)
def test_real_parameters_are_uniform_over_their_range(name, which, low, high):
    values = OPERATIONS[name].draw(20_000, 28, 32, derive_generator(5))[which]
    assert low <= values.min() < low + (high - low) / 1000
    assert high - (high - low) / 1000 < values.max() <= high
    assert values.mean().item() == pytest.approx((low + high) / 2, abs=(high - low) / 100)
    assert values.std().item() == pytest.approx((high - low) / math.sqrt(12), rel=0.02)


@pytest.mark.parametrize(
    ("name", "height", "width", "rows", "columns"),
    [
        ("crop", 28, 32, range(-4, 5), range(-4, 5)),
        ("crop", 8, 40, range(-1, 2), range(-5, 6)),
        ("cutout", 28, 32, range(-7, 22), range(-8, 25)),
        ("cutout", 5, 8, range(-1, 4), range(-2, 7)),
    ],
)
def test_whole_parameters_take_every_value_of_their_range_alike(name, height, width, rows, columns):
    drawn_rows, drawn_columns = OPERATIONS[name].draw(20_000, height, width, derive_generator(6))
    for values, expected in ((drawn_rows, rows), (drawn_columns, columns)):
        found, counts = values.unique(return_counts=True)
        assert found.tolist() == list(expected)
        assert counts.min() > 0.75 * 20_000 / len(expected)


def test_half_of_all_draws_flip():
    (flipped,) = OPERATIONS["flip"].draw(20_000, 8, 8, derive_generator(7))
    assert flipped.double().mean().item() == pytest.approx(0.5, abs=0.02)
