"""The door for real data: a name, a folder, a `Dataset` or tensors in, checked and normalised splits out."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import IterableDataset

from core_distill.data.arrays import holds_arrays, read_arrays
from core_distill.data.folder import read_folder
from core_distill.data.known import KNOWN_SETS
from core_distill.data.known_texts import KNOWN_TEXTS
from core_distill.data.pictures import picture_values, stack_pictures
from core_distill.data.splits import DataSplits, Examples, make_splits
from core_distill.data.text_folder import embedded_splits, holds_texts, load_texts


class LabelledDataset(Protocol):
    """What `from_dataset` reads: any map-style `torch.utils.data.Dataset` of (tensor or picture, class number)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor | Image.Image, int | Tensor]: ...


def load_data(
    source: str | Path,
    *,
    data_dir: str | Path | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    download: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> DataSplits:
    """Real data by name or from a folder, cut into train, validation (by `seed`) and test.

    >>> load_data("digits").train.image_shape
    (1, 8, 8)

    Args:
        source: one of `KNOWN_SETS`, or a folder: FOLDER/train/CLASS/*.png with FOLDER/test/CLASS/*.png, or
            FOLDER/CLASS/*.png, of which a fifth, always the same images, becomes the test set; or a folder with
            `train_images.npy`, `train_labels.npy`, `test_images.npy` and `test_labels.npy`, whose images stay on disk
            and may be larger than memory. Texts, embedded as by `load_texts`, are one of `KNOWN_TEXTS`, or a folder with
            `train.csv` or `train.txt`; they take no mean and std. A name wins over a folder of that name; write ./digits
            for the folder.
        data_dir: where to look first for the files of a named set.
        validation_fraction: how much of each train class is held out, between 0 and 1; at least one image of two.
        download: let torchvision fetch a named set that is not on this machine into the user's cache folder.
        mean, std: a number a channel, for the 0-to-1 range. Given ones count as public: that they were not computed
            from private images is the caller's word. Else a named set has published ones, and a folder its train set's.

    Raises `ValueError`, with what to do, for an unknown name, absent or damaged files and unfit images.
    """
    if data_dir is not None and not Path(data_dir).is_dir():
        raise ValueError(f"data_dir {data_dir} is not a folder")
    if source in KNOWN_TEXTS or (source not in KNOWN_SETS and holds_texts(Path(source).expanduser())):
        if mean is not None or std is not None:
            raise ValueError("texts take no mean and std: their embeddings are normalised, see load_texts")
        return _load_texts(str(source), data_dir, download, validation_fraction, seed)
    known = KNOWN_SETS.get(source) if isinstance(source, str) else None
    if known is None:
        folder = _folder(source)
        train, test, class_names = read_arrays(folder) if holds_arrays(folder) else read_folder(folder)
        name = Path(source).resolve().name
    else:
        train, test = known.read(str(source), None if data_dir is None else Path(data_dir), download)
        class_names, name = known.class_names, str(source)
        if mean is None and std is None:
            mean, std = known.mean, known.std
    if data_dir is not None and (known is None or source == "digits"):
        warnings.warn(f"data_dir has no effect on {source}: its images are elsewhere", stacklevel=2)
    return make_splits(
        train,
        test,
        name=name,
        class_names=class_names,
        mean=mean,
        std=std,
        validation_fraction=validation_fraction,
        seed=seed,
    )


def from_dataset(
    train: LabelledDataset,
    test: LabelledDataset,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "dataset",
    validation_fraction: float = 0.1,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> DataSplits:
    """Splits of a map-style `Dataset` pair giving (tensor `(c, ...)` or picture, class number), each item read once.

    Pictures become uint8, RGB where any is in colour; tensors stay what they are. The rest is as in `from_tensors`.
    Raises `ValueError` for an `IterableDataset`, an empty set, items that differ in shape or kind, and as
    `from_tensors`.
    """
    train_items, train_labels = _read_items("train", train)
    test_items, test_labels = _read_items("test", test)
    images = _stack(train_items + test_items)
    return from_tensors(
        (images[: len(train_items)], train_labels),
        (images[len(train_items) :], test_labels),
        class_names=class_names,
        name=name,
        validation_fraction=validation_fraction,
        seed=seed,
        mean=mean,
        std=std,
    )


def from_tensors(
    train: tuple[Tensor | np.ndarray, Tensor | np.ndarray],
    test: tuple[Tensor | np.ndarray, Tensor | np.ndarray],
    *,
    class_names: Sequence[str] | None = None,
    name: str = "tensors",
    validation_fraction: float = 0.1,
    seed: int = 0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> DataSplits:
    """Splits of plain tensors or arrays, `(images (n, c, ...), labels (n,))` for train and for test.

    Types and ranges are as `ClassSampler` takes them. Without `class_names` the classes are called "0" up to the
    highest label. Without `mean` and `std` they are computed over train; given ones count as public: that they were not
    computed from private examples is the caller's word.
    Raises `ValueError` for unfit tensors and for a class without train examples.
    """
    parts = (_single(train), _single(test))
    if class_names is None:
        highest = max((int(labels.max()) for _, labels in parts if labels.numel()), default=-1)
        class_names = [str(number) for number in range(highest + 1)]
    return make_splits(
        *parts,
        name=name,
        class_names=class_names,
        mean=mean,
        std=std,
        validation_fraction=validation_fraction,
        seed=seed,
    )


def _single(examples: tuple[Tensor | np.ndarray, Tensor | np.ndarray]) -> Examples:
    """As tensors, double precision as single, which is what networks have."""
    images, labels = (
        torch.from_numpy(np.require(value, requirements="W")) if isinstance(value, np.ndarray) else value
        for value in examples
    )
    return Examples(images.float() if images.dtype == torch.float64 else images, labels)


def _load_texts(
    source: str, data_dir: str | Path | None, download: bool, validation_fraction: float, seed: int
) -> DataSplits:
    if data_dir is not None and source != "trec6":
        warnings.warn(f"data_dir has no effect on {source}: its texts are elsewhere", stacklevel=3)
    if source not in KNOWN_TEXTS:
        return load_texts(source, validation_fraction=validation_fraction, seed=seed)
    train, test = KNOWN_TEXTS[source](None if data_dir is None else Path(data_dir), download)
    return embedded_splits(train, test, name=source, validation_fraction=validation_fraction, seed=seed)


def _folder(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; a folder of images or texts is needed, or the name of a data set")
    if not folder.is_dir() and "/" in str(source):
        raise ValueError(f"there is no folder {folder}")
    if not folder.is_dir():
        known, texts = ", ".join(sorted(KNOWN_SETS)), ", ".join(sorted(KNOWN_TEXTS))
        raise ValueError(
            f"unknown data set {str(source)!r}: known are {known}; of texts {texts}; the path of a folder of images works too, "
            "or of texts"
        )
    return folder


def _read_items(part: str, dataset: LabelledDataset) -> tuple[list[tuple[str, Tensor | Image.Image]], Tensor]:
    """Every image with a name for error messages, and the class numbers, int64 `(n,)`."""
    if isinstance(dataset, IterableDataset):
        raise ValueError(f"the {part} set is an IterableDataset: a map-style one, with a length, is needed")
    pairs = [dataset[index] for index in range(len(dataset))]
    if not pairs:
        raise ValueError(f"the {part} set is empty")
    labels = torch.tensor([int(label) for _, label in pairs])
    return [(f"{part} item {index}", image) for index, (image, _) in enumerate(pairs)], labels


def _stack(items: list[tuple[str, Tensor | Image.Image]]) -> Tensor:
    """All images as one tensor `(n, c, ...)`; `ValueError`, naming two, where they are not alike."""
    tensors = [(name, image) for name, image in items if isinstance(image, Tensor)]
    pictures = [(name, picture_values(image, name)) for name, image in items if isinstance(image, Image.Image)]
    if len(pictures) == len(items):
        return stack_pictures(pictures)
    if len(tensors) < len(items):
        raise ValueError(
            "every image must be a tensor, or every one a picture: "
            f"got {len(tensors)} tensors and {len(pictures)} pictures in {len(items)} items"
        )
    first_name, first = tensors[0]
    for name, image in tensors:
        if image.shape != first.shape or image.dtype != first.dtype:
            raise ValueError(
                f"images must be alike: {first_name} is {tuple(first.shape)} {first.dtype} "
                f"and {name} is {tuple(image.shape)} {image.dtype}"
            )
    return torch.stack([image for _, image in tensors])
