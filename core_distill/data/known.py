"""The data sets that are known by name: their classes, published constants and the places of their files."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core_distill.data.idx import read_idx_images
from core_distill.data.splits import Examples, fixed_test_split
from core_distill.files import cache_folder

Read = Callable[[str, Path | None, bool], tuple[Examples, Examples]]
"""`read(name, data_dir, download)` gives train and test set."""

SYSTEM_FOLDER = Path("/usr/share/datasets")
"""Where Debian's packages put data sets, one folder each."""

_IDX_FILES = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
_TORCHVISION_NAMES = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "fashion-mnist": "FashionMNIST",
    "mnist": "MNIST",
    "svhn": "SVHN",
}
_DIGITS = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """One data set; `mean` and `std`, a number a channel for the 0-to-1 range, are published constants."""

    read: Read
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _read_digits(name: str, data_dir: Path | None, download: bool) -> tuple[Examples, Examples]:
    """scikit-learn's 1,797 digits, 8x8, grey levels 0 to 16 spread over 0 to 255; a fifth of each class is the test.

    Its file is read as it is: importing the library for it takes a second.
    """
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    table = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    pixels = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return fixed_test_split(Examples(torch.from_numpy(pixels), torch.from_numpy(table[:, -1]).long()))


def _read_idx(name: str, data_dir: Path | None, download: bool) -> tuple[Examples, Examples]:
    folders = [cache_folder(name), SYSTEM_FOLDER / name]
    if data_dir is not None:
        folders = [data_dir / name, data_dir, *folders]
    for folder in folders:
        for place in (folder, folder / _TORCHVISION_NAMES[name] / "raw"):
            if files := _idx_files(place):
                return _read_idx_files(files)
    if download:
        _fetch(name, folders)
        if files := _idx_files(cache_folder(name) / _TORCHVISION_NAMES[name] / "raw"):
            return _read_idx_files(files)
    raise _absent(name, folders)


def _idx_files(folder: Path) -> list[tuple[Path, Path]]:
    """The image and label files of train and test in `folder`, or nothing where one of the four is missing."""
    found = []
    for images, labels in _IDX_FILES:
        pair = [next(filter(Path.is_file, (folder / name, folder / f"{name}.gz")), None) for name in (images, labels)]
        if pair[0] is None or pair[1] is None:
            return []
        found.append((pair[0], pair[1]))
    return found


def _read_idx_files(files: list[tuple[Path, Path]]) -> tuple[Examples, Examples]:
    train, test = (Examples(*read_idx_images(images, labels)) for images, labels in files)
    return train, test


def _read_torchvision(name: str, data_dir: Path | None, download: bool) -> tuple[Examples, Examples]:
    """A data set in the files that torchvision knows, from `data_dir` or the cache, or downloaded into the cache."""
    folders = [cache_folder(name)] if data_dir is None else [data_dir, data_dir / name, cache_folder(name)]
    for folder in folders:
        if examples := _torchvision_examples(name, folder):
            return examples
    if download:
        _fetch(name, folders)
        if examples := _torchvision_examples(name, cache_folder(name)):
            return examples
    raise _absent(name, folders)


def _torchvision_examples(name: str, folder: Path) -> tuple[Examples, Examples] | None:
    from torchvision import datasets

    try:
        if name == "svhn":
            parts = [datasets.SVHN(folder, split=split) for split in ("train", "test")]
            return _examples(parts[0].data, parts[0].labels), _examples(parts[1].data, parts[1].labels)
        cifar = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        sets = [cifar(folder, train=train) for train in (True, False)]
    except RuntimeError:  # how torchvision says that the files are not there, or not whole
        return None
    return (
        _examples(sets[0].data.transpose(0, 3, 1, 2), sets[0].targets),
        _examples(sets[1].data.transpose(0, 3, 1, 2), sets[1].targets),
    )


def _examples(images: np.ndarray, labels: object) -> Examples:
    pixels: Tensor = torch.from_numpy(np.ascontiguousarray(images))
    return Examples(pixels, torch.as_tensor(labels, dtype=torch.int64))


def _fetch(name: str, searched: list[Path]) -> None:
    try:
        _download(name, cache_folder(name))
    except (RuntimeError, OSError, HTTPException) as error:
        raise _absent(name, searched, error) from error


def _download(name: str, folder: Path) -> None:
    """Let torchvision fetch the files of `name` into `folder`."""
    from torchvision import datasets

    if name == "svhn":
        for split in ("train", "test"):
            datasets.SVHN(folder, split=split, download=True)
    else:
        getattr(datasets, _TORCHVISION_NAMES[name])(folder, download=True)


def _absent(name: str, searched: list[Path], reason: Exception | None = None) -> ValueError:
    """The one error for a data set that cannot be had; it names every way out."""
    if name in ("fashion-mnist", "mnist"):
        files = ", ".join(f"{file}[.gz]" for pair in _IDX_FILES for file in pair)
    else:
        files = f"the files that torchvision.datasets.{_TORCHVISION_NAMES[name]} reads"
    ways = [
        f"put {files} into {cache_folder(name)}",
        "name the folder that holds them with --data-dir (data_dir=)",
        "use digits, which needs no download",
    ]
    if name == "fashion-mnist":
        ways.insert(0, "apt install dataset-fashion-mnist")
    failed = f"the download failed ({' '.join(str(reason).split())})" if reason else "it was not downloaded"
    places = ", ".join(str(folder) for folder in searched)
    return ValueError(f"{name} is not in {places}, and {failed}. Ways out: {'; or '.join(ways)}")


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# The fine labels of CIFAR-100 in their own, alphabetical order.
_CIFAR100_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""

KNOWN_SETS: dict[str, KnownSet] = {
    "cifar10": KnownSet(
        read=_read_torchvision,
        class_names=_CIFAR10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    "cifar100": KnownSet(
        read=_read_torchvision,
        class_names=tuple(_CIFAR100_NAMES.split()),
        mean=(0.5071, 0.4866, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "digits": KnownSet(read=_read_digits, class_names=_DIGITS, mean=(0.3053,), std=(0.3760,)),
    "fashion-mnist": KnownSet(read=_read_idx, class_names=_FASHION, mean=(0.2861,), std=(0.3530,)),
    "mnist": KnownSet(read=_read_idx, class_names=_DIGITS, mean=(0.1307,), std=(0.3081,)),
    "svhn": KnownSet(
        read=_read_torchvision,
        class_names=_DIGITS,
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
    ),
}
