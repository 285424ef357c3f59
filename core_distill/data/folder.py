"""Images in folders, one folder a class: how a user's own data comes in without any code."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from core_distill.data.pictures import picture_values, stack_pictures
from core_distill.data.splits import Examples, fixed_test_split

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""File endings that are read; other files in a class folder are passed over."""

_LAYOUT = "expected FOLDER/CLASS/image.png, or FOLDER/train/CLASS/image.png with FOLDER/test/CLASS/image.png"


def read_folder(folder: Path) -> tuple[Examples, Examples, tuple[str, ...]]:
    """Train set, test set and class names (the folders' names, sorted) of a folder of images.

    FOLDER/train/CLASS and FOLDER/test/CLASS are taken as they are; with FOLDER/CLASS alone, a fifth of each class,
    always the same images, becomes the test set. Grey pictures become RGB where any is in colour.

    Raises `ValueError` for fewer than 2 classes, a class folder without images, an unreadable image, images of
    different sizes, and a class that only train or only test has.
    """
    train, test = folder / "train", folder / "test"
    if not (_class_folders(train) and _class_folders(test)):
        _refuse_half_a_split(folder)
        names = _class_names(folder)
        files = _image_files(folder, names)
        return *fixed_test_split(Examples(_read_images(files), _labels(files, names))), names
    names = _class_names(train)
    if foreign := sorted({path.name for path in _class_folders(test)} - set(names)):
        raise ValueError(f"{test} has class folders that {train} lacks: {', '.join(foreign)}")
    train_files, test_files = _image_files(train, names), _image_files(test, names)
    images, labels = _read_images(train_files + test_files), _labels(train_files + test_files, names)
    count = len(train_files)
    return Examples(images[:count], labels[:count]), Examples(images[count:], labels[count:]), names


def _refuse_half_a_split(folder: Path) -> None:
    """Raise `ValueError` where `folder` is `train` without `test`, or the other way round."""
    for one, other in (("train", "test"), ("test", "train")):
        if {path.name for path in _class_folders(folder)} == {one} and _class_folders(folder / one):
            raise ValueError(f"{folder} has {one}/ with class folders, but no {other}/ with some: {_LAYOUT}")


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _class_folders(folder))
    if len(names) < 2:
        raise ValueError(f"{folder} has {_counted(names)}, at least 2 are needed: {_LAYOUT}")
    return names


def _counted(names: tuple[str, ...]) -> str:
    return "1 class folder" if len(names) == 1 else f"{len(names)} class folders"


def _image_files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    files: list[Path] = []
    for name in names:
        if not (folder / name).is_dir():
            raise ValueError(f"{folder} has no folder for class {name}")
        found = sorted(path for path in (folder / name).iterdir() if _is_image(path))
        if not found:
            raise ValueError(
                f"class folder {folder / name} has no images: put some in or remove the folder; "
                f"endings that are read: {' '.join(SUFFIXES)}; {_LAYOUT}"
            )
        files += found
    return files


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _read_images(files: list[Path]) -> Tensor:
    return stack_pictures((str(path), _read_image(path)) for path in files)


def _read_image(path: Path) -> Tensor:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture_values(picture, str(path))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable image ({error}): repair or remove it") from error


def _labels(files: list[Path], names: tuple[str, ...]) -> Tensor:
    return torch.tensor([names.index(path.parent.name) for path in files])
