"""A folder of images: every layout, every mode of picture, and every mistake a user makes."""

import numpy as np
import pytest
import torch
from PIL import Image

from core_distill.data import load_data


def save(path, value, *, mode="L", size=(5, 4)):
    """One picture of one value; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


def two_classes(folder, *, count=5):
    for number, name in enumerate(("cat", "dog")):
        for index in range(count):
            save(folder / name / f"{index}.png", 100 * number + index)


def test_one_folder_a_class(tmp_path):
    two_classes(tmp_path / "pets", count=10)
    splits = load_data(tmp_path / "pets", validation_fraction=0.25)
    assert splits.name == "pets"
    assert splits.class_names == ("cat", "dog")
    assert splits.train.image_shape == (1, 4, 5)
    sizes = [sampler.class_sizes.tolist() for sampler in (splits.train, splits.validation, splits.test)]
    assert sizes == [[6, 6], [2, 2], [2, 2]]
    assert not splits.public_normalisation
    values = [sampler.images[:, 0, 0, 0].tolist() for sampler in (splits.train, splits.validation, splits.test)]
    assert sorted(value for part in values for value in part) == [*range(10), *range(100, 110)]
    for sampler in (splits.train, splits.validation, splits.test):
        assert (sampler.images[:, 0, 0, 0] >= 100).tolist() == (sampler.labels == 1).tolist()


def test_the_test_split_does_not_follow_the_seed(tmp_path):
    two_classes(tmp_path)
    first, second = (load_data(str(tmp_path), seed=seed, validation_fraction=0.5) for seed in (0, 5))
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.train.images, second.train.images)
    assert first.digest == second.digest


def test_train_and_test_folders(tmp_path):
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=1)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".hidden").mkdir()
    splits = load_data(tmp_path, mean=[0.5], std=[0.5])
    assert splits.test.images[:, 0, 0, 0].tolist() == [0, 100]
    assert len(splits.train) + len(splits.validation) == 10
    assert splits.public_normalisation


def test_classes_may_be_called_train_and_test_alone(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "cat").rename(tmp_path / "train")
    (tmp_path / "dog").rename(tmp_path / "test")
    assert load_data(tmp_path).class_names == ("test", "train")


def test_grey_becomes_colour_where_one_is(tmp_path):
    two_classes(tmp_path)
    save(tmp_path / "dog" / "0.png", (10, 20, 30), mode="RGB")
    splits = load_data(tmp_path)
    assert splits.train.image_shape == (3, 4, 5)
    images = torch.cat([part.images for part in (splits.train, splits.validation, splits.test)])
    colours = {tuple(image[:, 0, 0].tolist()) for image in images}
    assert (10, 20, 30) in colours
    assert (3, 3, 3) in colours


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("1", 1, [255]),
        ("L", 9, [9]),
        ("LA", (9, 128), [9]),
        ("P", 0, [0, 0, 0]),
        ("RGB", (1, 2, 3), [1, 2, 3]),
        ("RGBA", (1, 2, 3, 4), [1, 2, 3]),
    ],
)
def test_modes(tmp_path, mode, value, expected):
    for name in ("a", "b"):
        for index in range(3):
            save(tmp_path / name / f"{index}.png", value, mode=mode)
    assert load_data(tmp_path).train.images[0, :, 0, 0].tolist() == expected


def test_pixels_are_where_they_were(tmp_path):
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(4, 5, 3)
    for name in ("a", "b"):
        for index in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    assert torch.equal(load_data(tmp_path).train.images[0], torch.from_numpy(pixels).permute(2, 0, 1))


def test_different_sizes_name_two_files(tmp_path):
    two_classes(tmp_path)
    save(tmp_path / "dog" / "2.png", 0, size=(7, 4))
    with pytest.raises(ValueError, match=r"cat.0\.png is 5x4 and \S*dog.2\.png is 7x4 .*resize them"):
        load_data(tmp_path)


def test_an_empty_class_is_named(tmp_path):
    two_classes(tmp_path)
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird" / "readme.txt").write_text("nothing yet")
    with pytest.raises(ValueError, match=r"class folder \S*bird has no images"):
        load_data(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_an_unreadable_image_is_named(tmp_path, content):
    two_classes(tmp_path)
    (tmp_path / "dog" / "2.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"dog.2\.png is not a readable image"):
        load_data(tmp_path)


def test_a_cut_off_image_is_named(tmp_path):
    generator = np.random.default_rng(0)
    two_classes(tmp_path)
    path = tmp_path / "dog" / "2.png"
    Image.fromarray(generator.integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"dog.2\.png is not a readable image"):
        load_data(tmp_path)


def test_deep_images_are_refused(tmp_path):
    two_classes(tmp_path)
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "dog" / "2.png")
    with pytest.raises(ValueError, match=r"dog.2\.png has more than 8 bits"):
        load_data(tmp_path)


def test_fewer_than_two_classes_show_the_layout(tmp_path):
    save(tmp_path / "0.png", 0)
    with pytest.raises(ValueError, match=r"has 0 class folders, at least 2 are needed: expected FOLDER/CLASS"):
        load_data(tmp_path)
    save(tmp_path / "cat" / "0.png", 0)
    with pytest.raises(ValueError, match="has 1 class folder, at least"):
        load_data(tmp_path)


@pytest.mark.parametrize(("there", "lacking"), [("train", "test"), ("test", "train")])
def test_half_a_split_says_which_half_is_missing(tmp_path, there, lacking):
    two_classes(tmp_path / there)
    with pytest.raises(ValueError, match=f"has {there}/ with class folders, but no {lacking}/ with some: expected"):
        load_data(tmp_path)


def test_an_image_a_class_leaves_none_to_test_on(tmp_path):
    two_classes(tmp_path, count=1)
    with pytest.raises(ValueError, match="no class has 2 images, of which a fifth, at least one, is kept for testing"):
        load_data(tmp_path)


def test_train_and_test_must_have_the_same_classes(tmp_path):
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    save(tmp_path / "test" / "bird" / "0.png", 0)
    with pytest.raises(ValueError, match=r"test has class folders that \S*train lacks: bird"):
        load_data(tmp_path)
    (tmp_path / "test" / "bird").rename(tmp_path / "train" / "bird")
    with pytest.raises(ValueError, match="test has no folder for class bird"):
        load_data(tmp_path)
