"""`load_data` by name and `from_dataset`: what is found where, and what is said when it is not."""

import gzip
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from core_distill.data import KNOWN_SETS, from_dataset, from_tensors, known, load_data

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No cache, no system folder and no network: whatever is found was put there by the test."""

    def refuse(name, folder):
        raise URLError("no route\n to host")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(known, "_download", refuse)
    return tmp_path


def write_idx(folder, *, value=1, zipped=False):
    """A tiny set of 40 train and 10 test images of 2x3 pixels with `value` in every pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in IDX_NAMES:
        count = 40 if name.startswith("train") else 10
        if "images" in name:
            content = struct.pack(">4B3I", 0, 0, 8, 3, count, 2, 3) + bytes([value]) * (count * 6)
        else:
            content = struct.pack(">4B1I", 0, 0, 8, 1, count) + bytes(index % 10 for index in range(count))
        path = folder / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


def test_digits_are_bundled_and_their_test_set_is_fixed():
    first, second = load_data("digits"), load_data("digits", seed=1, validation_fraction=0.3, download=False)
    assert first.train.image_shape == (1, 8, 8)
    assert [len(part) for part in (first.train, first.validation, first.test)] == [1295, 143, 359]
    assert first.test.class_sizes.tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert torch.equal(first.test.images, second.test.images)
    assert first.digest == second.digest == "9900c81b73f9efa8"
    assert first.class_names == tuple("0123456789")
    assert first.public_normalisation
    assert first.train.images.max() == 255
    every = torch.cat(
        [part.take(torch.arange(len(part))).images for part in (first.train, first.validation, first.test)]
    )
    assert len(every) == 1797
    assert abs(float(every.mean())) < 0.01
    assert abs(float(every.std()) - 1) < 0.01


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
def test_fashion_mnist_is_really_read(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    splits = load_data("fashion-mnist", download=False)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [54000, 6000, 10000]
    assert splits.train.class_sizes.tolist() == [5400] * 10
    assert splits.test.class_sizes.tolist() == [1000] * 10
    assert splits.train.image_shape == (1, 28, 28)
    assert splits.class_names[9] == "Ankle boot"
    pixels = splits.train.images.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.2861, abs=1e-3)
    assert float(pixels.std()) == pytest.approx(0.3530, abs=1e-3)
    assert splits.digest == "3ea454b731fe0165"


def test_every_known_set_has_constants_and_names_that_fit():
    assert sorted(KNOWN_SETS) == ["cifar10", "cifar100", "digits", "fashion-mnist", "mnist", "svhn"]
    for entry in KNOWN_SETS.values():
        assert len(entry.mean) == len(entry.std) in (1, 3)
        assert all(0 < value < 1 for value in entry.mean + entry.std)
        assert len(set(entry.class_names)) == len(entry.class_names) in (10, 100)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "place",
    ["data", "data/mnist", "data/MNIST/raw", "data/mnist/MNIST/raw", "cache/stillroom/mnist", "system/mnist"],
)
def test_idx_files_are_found(offline, place, zipped):
    (offline / "data").mkdir()
    write_idx(offline / place, zipped=zipped)
    splits = load_data("mnist", data_dir=offline / "data")
    assert splits.train.image_shape == (1, 2, 3)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, 10]


def test_the_named_folder_comes_first_then_cache_then_system(offline):
    for value, place in ((1, "system/mnist"), (2, "cache/stillroom/mnist"), (3, "data"), (4, "data/mnist")):
        write_idx(offline / place, value=value)
        assert load_data("mnist", data_dir=offline / "data" if value > 2 else None).test.images.max() == value


def test_fashion_mnist_in_torchvisions_folder(offline):
    write_idx(offline / "data" / "FashionMNIST" / "raw")
    assert len(load_data("fashion-mnist", data_dir=str(offline / "data")).test) == 10


def test_a_damaged_file_is_named(offline):
    write_idx(offline / "data")
    path = offline / "data" / IDX_NAMES[2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte claims shape \(10, 2, 3\), 60 values, but holds 59"):
        load_data("mnist", data_dir=offline / "data")


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "mnist", "svhn"])
def test_offline_and_absent_names_the_ways_out(offline, name, download):
    (offline / "data").mkdir()
    with pytest.raises(ValueError, match=f"{name} is not in") as caught:
        load_data(name, data_dir=offline / "data", download=download)
    message = str(caught.value)
    assert "\n" not in message
    for way in ("--data-dir", "digits", str(offline / "cache" / "stillroom" / name), str(offline / "data")):
        assert way in message
    assert ("no route to host" in message) == download
    assert ("apt install dataset-fashion-mnist" in message) == (name == "fashion-mnist")
    assert not (offline / "cache").exists()


def test_one_missing_file_counts_as_absent(offline):
    write_idx(offline / "data")
    (offline / "data" / IDX_NAMES[3]).unlink()
    with pytest.raises(ValueError, match="mnist is not in"):
        load_data("mnist", data_dir=offline / "data")


def test_a_download_is_used(offline, monkeypatch):
    monkeypatch.setattr(known, "_download", lambda name, folder: write_idx(folder / "MNIST" / "raw"))
    assert len(load_data("mnist").test) == 10
    assert (offline / "cache" / "stillroom" / "mnist" / "MNIST" / "raw").is_dir()


class FakeCifar:
    """torchvision's interface, without its files."""

    def __init__(self, folder, train):
        if not Path(folder).is_dir():
            raise RuntimeError("Dataset not found or corrupted.")
        count = 40 if train else 10
        self.data = np.zeros((count, 32, 32, 3), np.uint8)
        self.data[:, 0, 1, 2] = 7
        self.targets = [index % 10 for index in range(count)]


class FakeSvhn:
    """The same for SVHN, whose arrays are laid out otherwise."""

    def __init__(self, folder, split):
        if not Path(folder).is_dir():
            raise RuntimeError("Dataset not found or corrupted.")
        count = 40 if split == "train" else 10
        self.data = np.zeros((count, 3, 32, 32), np.uint8)
        self.data[:, 2, 0, 1] = 7
        self.labels = np.arange(count) % 10


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
@pytest.mark.parametrize("downloaded", [True, False])
def test_torchvisions_arrays_become_channels_first(offline, monkeypatch, name, downloaded):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCifar)
    monkeypatch.setattr("torchvision.datasets.SVHN", FakeSvhn)
    monkeypatch.setattr(known, "_download", lambda name, folder: folder.mkdir(parents=True))
    (offline / "data").mkdir()
    splits = load_data(name, data_dir=None if downloaded else offline / "data")
    assert splits.train.image_shape == (3, 32, 32)
    for part in (splits.train, splits.test):
        assert set(part.images[:, 2, 0, 1].tolist()) == {7}
        assert int(part.images.sum()) == 7 * len(part)
    assert splits.test.labels.tolist() == list(range(10))
    assert splits.public_normalisation


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match=r"unknown data set 'imagenet': known are cifar10, .*svhn; .*folder of images"):
        load_data("imagenet")
    with pytest.raises(ValueError, match="unknown data set"):
        load_data(Path("digits"))


def test_a_path_that_is_no_folder_is_called_so(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*gone"):
        load_data(f"{tmp_path}/gone/")
    (tmp_path / "images.zip").touch()
    with pytest.raises(ValueError, match=r"images\.zip is a file; a folder of images or texts is needed"):
        load_data(tmp_path / "images.zip")


def test_a_data_dir_must_exist_and_matter(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder"):
        load_data("mnist", data_dir=tmp_path / "nowhere")
    with pytest.warns(UserWarning, match="data_dir has no effect on digits"):
        load_data("digits", data_dir=tmp_path)


def test_own_constants_replace_the_published():
    splits = load_data("digits", mean=[0.0], std=[1.0])
    assert splits.train.std.tolist() == [1.0]
    with pytest.raises(ValueError, match="mean and std belong together"):
        load_data("digits", std=[1.0])


class Pictures(Dataset):
    """Pictures with their class numbers, as torchvision's own data sets give them."""

    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        return self.pictures[index], index % 2


def test_arrays_are_taken_as_tensors_are():
    images, labels = torch.rand(8, 1, 2, 2), torch.arange(8) % 2
    ours = from_tensors((images, labels), (images, labels))
    arrays = (images.numpy(), labels.numpy())
    found = from_tensors(arrays, arrays)
    assert found.digest == ours.digest
    assert found.class_names == ("0", "1")


def test_a_dataset_of_tensors():
    images, labels = torch.rand(12, 2, 3, 5), torch.arange(12) % 3
    splits = from_dataset(TensorDataset(images, labels), TensorDataset(images[:3], labels[:3]), name="mine")
    assert splits.name == "mine"
    assert splits.class_names == ("0", "1", "2")
    assert torch.equal(splits.test.images, images[:3])
    assert len(splits.train) + len(splits.validation) == 12


def test_a_dataset_of_pictures():
    grey = [Image.new("L", (5, 4), value) for value in range(8)]
    splits = from_dataset(Pictures(grey), Pictures(grey[:2]), class_names=["cat", "dog"])
    assert splits.train.images.dtype == torch.uint8
    assert splits.test.images[:, 0, 3, 4].tolist() == [0, 1]
    coloured = from_dataset(Pictures(grey), Pictures([grey[0], Image.new("RGB", (5, 4), (1, 2, 3))]))
    assert coloured.train.image_shape == (3, 4, 5)
    assert coloured.test.images[1, :, 0, 0].tolist() == [1, 2, 3]


class Endless(IterableDataset):
    """A data set without a length."""

    def __iter__(self):
        yield torch.zeros(1), 0


def test_unfit_datasets_are_refused():
    fit = Pictures([Image.new("L", (5, 4))] * 6)
    tensors = TensorDataset(torch.zeros(6, 1, 4, 5), torch.arange(6) % 2)
    cases = [
        (fit, Pictures([]), "the test set is empty"),
        (Endless(), fit, "train set is an IterableDataset"),
        (fit, Pictures([Image.new("L", (7, 4))]), "train item 0 is 5x4 and test item 0 is 7x4"),
        (fit, tensors, "got 6 tensors and 6 pictures in 12 items"),
        (fit, Pictures([np.zeros(3)]), "got 0 tensors and 6 pictures in 7 items"),
        (tensors, Pictures([torch.zeros(1, 4, 6)]), r"train item 0 is \(1, 4, 5\) torch.float32 and test item 0"),
        (tensors, Pictures([torch.zeros(1, 4, 5).byte()]), r"test item 0 is \(1, 4, 5\) torch.uint8"),
    ]
    for train, test, message in cases:
        with pytest.raises(ValueError, match=message):
            from_dataset(train, test)
