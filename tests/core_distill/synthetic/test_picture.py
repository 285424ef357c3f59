"""The picture of a set: every image at its place, one row a class, real colours."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from core_distill.synthetic.picture import not_shown, picture

GAP = 2


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def normalised(values):
    """What a set holds so that its images have `values` in 0 to 1: the sets of these tests have mean 0.25, std 0.5."""
    return (values - 0.25) / 0.5


def test_each_pixel_of_a_tiny_grey_set_is_at_its_place(make_set):
    """Four 32 x 32 images of one grey each: not enlarged, on white, a row a class."""
    greys = torch.tensor([0.0, 0.2, 0.4, 0.6])
    found = pixels_of(picture(make_set(images=normalised(greys.view(4, 1, 1, 1).expand(4, 1, 32, 32)))))
    expected = np.full((GAP + 2 * (32 + GAP), GAP + 2 * (32 + GAP)), 255, dtype=np.uint8)
    expected[2:34, 2:34] = 0
    expected[2:34, 36:68] = 51
    expected[36:68, 2:34] = 102
    expected[36:68, 36:68] = 153
    np.testing.assert_array_equal(found, expected)


def test_small_images_are_enlarged_by_whole_factors(make_set):
    """A 2 x 3 image becomes 32 x 48: every pixel a square of 16."""
    image = torch.tensor([[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]])
    found = pixels_of(picture(make_set(images=normalised(image.expand(4, 1, 2, 3)))))
    expected = (image * 255).round().byte().repeat_interleave(16, 0).repeat_interleave(16, 1).numpy()
    for top in (2, 2 + 34):
        for left in (2, 2 + 50):
            np.testing.assert_array_equal(found[top : top + 32, left : left + 48], expected)
    assert found.shape == (GAP + 2 * 34, GAP + 2 * 50)


def test_colours_stay_apart_and_rows_are_as_high_as_the_images(make_set):
    colour = torch.tensor([0.0, 0.4, 1.0]).view(1, 3, 1, 1).expand(4, 3, 33, 40)
    found = pixels_of(picture(make_set(images=normalised(colour))))
    assert found.shape == (GAP + 2 * (33 + GAP), GAP + 2 * (40 + GAP), 3)
    assert found[2, 2].tolist() == [0, 102, 255]
    assert found[1, 1].tolist() == [255, 255, 255]


def test_at_most_so_many_columns(make_set):
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 32, 32) / 5
    synthetic = make_set(images=normalised(images), images_per_class=3)
    found = pixels_of(picture(synthetic, columns=2))
    assert found.shape == (GAP + 2 * 34, GAP + 2 * 34)
    assert [found[2, 2], found[2, 36], found[36, 2], found[36, 36]] == [0, 51, 153, 204]


def test_values_outside_0_to_1_are_clipped(make_set):
    images = normalised(torch.tensor([-3.0, 0.5, 0.5, 7.0])).view(4, 1, 1, 1).expand(4, 1, 32, 32)
    found = pixels_of(picture(make_set(images=images)))
    assert (found[2, 2], found[36, 36]) == (0, 255)


@pytest.mark.parametrize(
    ("values", "columns", "told"),
    [
        ([0.0, 0.5, 1.0, -0.04, 1.04, 0.3], 3, []),
        ([0.0, 0.5, 1.0, 0.2, 0.4, 0.3], 2, ["the first 2 of 3 images a class"]),
        (
            [-1.5, 0.5, 1.0, 0.2, 0.4, 2.25],
            3,
            ["values from 0 to 1, clipped: 33% are learned beyond that, -1.5 to 2.2"],
        ),
        ([-1.5, 0.5, 1.0, 0.2, 0.4, 2.25], 1, ["the first 1 of 3 images a class", "clipped: 33%"]),
    ],
)
def test_what_a_picture_leaves_out_is_told(values, columns, told, make_set):
    images = normalised(torch.tensor(values)).view(6, 1, 1, 1).expand(6, 1, 32, 32)
    found = not_shown(make_set(images=images, images_per_class=3), columns=columns)
    assert len(found) == len(told)
    for said, part in zip(found, told, strict=True):
        assert part in said


def test_a_few_values_beyond_the_range_are_not_told(make_set):
    images = torch.full((4, 1, 32, 32), 0.5)
    images[0, 0, 0, :32] = 3.0
    assert not_shown(make_set(images=normalised(images))) == []


def test_what_is_left_out_counts_in_pixels(make_set):
    images = normalised(torch.full((4, 1, 32, 32), 5.0))
    assert not_shown(make_set(images=images), unwhiten=lambda values: values / 10) == []


def test_the_same_set_gives_the_same_bytes(make_set):
    assert picture(make_set()) == picture(make_set())


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 5, 5), (4, 1, 3)])
def test_what_is_no_image_is_refused(shape, make_set):
    with pytest.raises(ValueError, match="only grey or colour images have a picture, these are"):
        picture(make_set(images=torch.zeros(shape)))
