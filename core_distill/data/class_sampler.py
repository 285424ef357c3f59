"""The one holder of real examples: small at rest, sorted by class, normalised on the way out, drawn without loops."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor

from core_distill.data.class_draws import ClassDraws
from core_distill.data.digest import content_digest
from core_distill.data.mapped import Images, MappedImages, select
from core_distill.data.reading import check_finite
from core_distill.types import Batch


class ClassSampler:
    """Labelled examples that hand out normalised batches, flat or one row a class; satisfies `RealData`.

    Drawing runs on the examples' own device and never waits for it. The constructor copies and sorts by class, keeping
    the order within a class; of `MappedImages` it sorts the row numbers alone, and the same batches are read from disk.

    Args:
        images: `(n, c, *rest)`, uint8 (0 to 255, handed out as `(x / 255 - mean) / std` in float32), or float32 or
            float64 of any range (handed out as `(x - mean) / std` in the same type). Images are `(n, c, h, w)`.
        labels: class numbers `(n,)`, any whole-number type, in 0..num_classes-1; some classes may be absent.
        num_classes: how many classes the whole task has.
        mean, std: one number a channel, `(c,)`; for uint8 in units of the 0-to-1 range.

    Attributes: `images`, `labels` int64 `(n,)`, `classes` int64 `(k,)` ascending and `class_sizes` int64 `(k,)` of the
    classes present, `num_classes`, `mean (c,)`, `std (c,)`, `image_shape`, and `draws`, which picks grouped batches.

    Raises `ValueError` where these do not fit together, for an empty set, and for NaN or infinite values.
    """

    def __init__(
        self,
        images: Images,
        labels: Tensor,
        *,
        num_classes: int,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
    ) -> None:
        check_images(images)
        check_finite(images)
        check_labels(labels, len(images), num_classes)
        self.mean, self.std = _constants(mean, std, images)
        labels = labels.detach().to(images.device, torch.int64)
        order = labels.argsort(stable=True)
        self._images = select(images if isinstance(images, MappedImages) else images.detach(), order)
        self.labels, self.num_classes = labels[order], num_classes
        self.image_shape: tuple[int, ...] = tuple(images.shape[1:])
        sizes = labels.bincount(minlength=num_classes)
        ends = sizes.cumsum(0)
        self.classes = sizes.nonzero().flatten()
        self.class_sizes = sizes[self.classes]
        self._all_ends: list[int] = ends.tolist()
        self.draws = ClassDraws(self.class_sizes.tolist(), images.device)
        self._digest = ""

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All images as they are kept, `(n, *image_shape)`, class after class; those on disk are read into memory."""
        return self._images[:] if isinstance(self._images, MappedImages) else self._images

    @property
    def device(self) -> torch.device:
        """Where the examples are, and the batches will be."""
        return self._images.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the images as they are kept."""
        return self._images.dtype

    @property
    def is_on_disk(self) -> bool:
        """Whether images are read from a file as batches ask for them."""
        return isinstance(self._images, MappedImages)

    def take(self, indices: Tensor) -> Batch:
        """The examples at `indices` (int64, any shape `(*i)`), images `(*i, *image_shape)` and labels `(*i)`."""
        return Batch(self._normalise(self._images[indices]), self.labels[indices])

    def by_class(self, size: int, generator: Generator) -> Batch:
        """`size` random examples of each class present, `(k, size, *image_shape)`, rows in the order of `classes`.

        Within a class without replacement; a class with fewer examples is shuffled again and again, so that each of its
        examples appears `floor` or `ceil` of size / class size times. Raises `ValueError` for a size below 1.
        """
        _check_size(size)
        return self.take(self.draws.by_class(size, generator))

    def batch(self, size: int, generator: Generator) -> Batch:
        """`size` examples drawn over all classes without replacement, or all of them shuffled where there are fewer.

        Raises `ValueError` for a size below 1.
        """
        _check_size(size)
        return self.take(torch.randperm(len(self), generator=generator, device=generator.device)[:size].to(self.device))

    def all_chunks(self, size: int) -> Iterator[Batch]:
        """Every example once, class after class, in flat batches of at most `size`."""
        _check_size(size)
        for start in range(0, len(self), size):
            yield Batch(self._normalise(self._images[start : start + size]), self.labels[start : start + size])

    def of_class(self, number: int) -> Tensor:
        """Where the examples of class `number` are, int64 `(m,)`; empty for an absent class.

        Raises `ValueError` for a number outside 0..num_classes-1.
        """
        if not 0 <= number < self.num_classes:
            raise ValueError(f"class {number} does not exist, classes are 0..{self.num_classes - 1}")
        start = self._all_ends[number - 1] if number else 0
        return torch.arange(start, self._all_ends[number], device=self.device)

    def subset(self, indices: Tensor) -> "ClassSampler":
        """A sampler of the examples at `indices (m,)` alone, same classes and normalisation; `ValueError` for none."""
        images = select(self._images, indices)
        return ClassSampler(images, self.labels[indices], num_classes=self.num_classes, mean=self.mean, std=self.std)

    def normalised(self, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor) -> "ClassSampler":
        """A sampler of the same examples with other constants, as the constructor takes them; `ValueError` as there."""
        changed = copy.copy(self)
        changed.mean, changed.std = _constants(mean, std, self._images)
        changed._digest = ""
        return changed

    def to(self, device: torch.device | str) -> "ClassSampler":
        """This sampler on `device`: itself where it is there already."""
        if torch.device(device) == self.device:
            return self
        moved = copy.copy(self)
        moved._images = self._images.to(device)
        moved.labels, moved.mean, moved.std = (value.to(device) for value in (self.labels, self.mean, self.std))
        moved.classes, moved.class_sizes = self.classes.to(device), self.class_sizes.to(device)
        moved.draws = ClassDraws(self.class_sizes.tolist(), moved.device)
        return moved

    def digest(self) -> str:
        """A short name for the examples in their order, with their normalisation: 16 hexadecimal digits.

        All images are read for it, the first time it is asked for.
        """
        if not self._digest:
            self._digest = content_digest(self._images, self.labels, self.mean, self.std)
        return self._digest

    def named(self, digest: str) -> "ClassSampler":
        """The same examples under another `digest()`: what they were made of, where that says more than their last bits."""
        other = copy.copy(self)
        other._digest = digest
        return other

    def require_all_classes(self, class_names: Sequence[str]) -> None:
        """Raise `ValueError`, naming them, where classes have no examples; `class_names` has one name a class."""
        present = set(self.classes.tolist())
        absent = [f"{number} ({class_names[number]})" for number in range(self.num_classes) if number not in present]
        if absent:
            raise ValueError(f"no examples of class {', '.join(absent)}: every class needs at least one")

    def _normalise(self, images: Tensor) -> Tensor:
        channel = (-1, *[1] * (len(self.image_shape) - 1))
        if images.dtype == torch.uint8:
            images = images.to(self.mean.dtype).div_(255)
        return (images - self.mean.view(channel)).div_(self.std.view(channel))


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"a batch needs at least 1 example, got size {size}")


def check_images(images: Images) -> None:
    """Raise `ValueError` unless `images` are of an accepted type and of shape `(n, c, ...)` with n >= 1."""
    if images.dtype not in (torch.uint8, torch.float32, torch.float64):
        raise ValueError(f"images must be uint8, float32 or float64, got {images.dtype}; convert them first")
    if len(images.shape) < 2 or not images.shape.numel():
        raise ValueError(f"images need the shape (n, c, ...) with at least one of each, got {tuple(images.shape)}")


def check_labels(labels: Tensor, num_images: int, num_classes: int) -> None:
    """Raise `ValueError` unless `labels` are `num_images` whole numbers in 0..num_classes-1."""
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"labels must be whole numbers, got {labels.dtype}; use labels.long() if they are class numbers"
        )
    if labels.shape != (num_images,):
        raise ValueError(f"labels need the shape ({num_images},), one an image, got {tuple(labels.shape)}")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1} ({num_classes} classes), got {lowest}..{highest}")


def _constants(mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor, images: Images) -> tuple[Tensor, Tensor]:
    """Mean and std, `(c,)`, in the type and on the device of the normalised images; `ValueError` for unfit ones."""
    dtype = torch.float32 if images.dtype == torch.uint8 else images.dtype
    made = [torch.as_tensor(value, dtype=dtype, device=images.device).detach().clone() for value in (mean, std)]
    for name, value in zip(("mean", "std"), made, strict=True):
        if value.shape != (images.shape[1],):
            raise ValueError(
                f"{name} needs one number for each of {images.shape[1]} channels, got {tuple(value.shape)}"
            )
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} must be finite, got {value.tolist()}")
    if (made[1] <= 0).any():
        raise ValueError(f"std must be positive, got {made[1].tolist()}")
    return made[0], made[1]
