"""What is learned: images, labels and a step size; its `state_dict` is checkpoint, file and message at once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import torch
from torch import Generator, Tensor, nn
from torch.utils.data import TensorDataset

from core_distill.types import Batch

if TYPE_CHECKING:
    from core_distill.synthetic.start import Start

SMALLEST_STEP_SIZE = 1e-6
"""Where a learned step size stops on its way to zero."""


class Slotwise(Protocol):
    """What images and labels have in common: an `nn.Module` that says something of each of `num_slots` slots.

    `config()` holds what `from_config(**config)` needs to build an empty one of the same size, as JSON values. The methods
    of `nn.Module` that are named here are the ones used of it.
    """

    @property
    def num_slots(self) -> int: ...

    def config(self) -> dict[str, object]: ...

    @classmethod
    def from_config(cls, *args: Any, **config: Any) -> Self: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def requires_grad_(self, requires_grad: bool = True) -> Self: ...

    def to(self, device: torch.device) -> Self: ...


class Decoder(Slotwise, Protocol):
    """A parametrisation of images: what it makes of a slot, how it starts, and what it has seen.

    Its class has `looks_at_data`, whether `starting_at` sees more of the real data than `start.draw` gives: what a privacy
    guarantee must know, and takes for True of a class that does not say.
    """

    looks_at_data: ClassVar[bool]

    @property
    def views(self) -> int:
        """How many images it makes of one slot."""
        ...

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of each image; an empty one on the meta device knows it as well, without an image being made."""
        ...

    def __call__(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, `(n * views, *image_shape)`, the views of one slot next to each other."""
        ...

    @classmethod
    def starting_at(cls, start: "Start") -> Self:
        """One that costs about as many bytes as the budget of `start`; further keyword-only values are the recipe's."""
        ...


class Labels(Slotwise, Protocol):
    """What slots are called: class numbers `(n,)`, int64, or probabilities `(n, num_classes)` of `slots (n,)`."""

    def __call__(self, slots: Tensor) -> Tensor: ...


class SyntheticSet(nn.Module):
    """A class-balanced synthetic set: `images_per_class` slots for each of `classes`, class after class.

    Args:
        images: the parametrisation, an `nn.Module` that is a `Decoder`.
        labels: `HardLabels`, `SoftLabels` or `GivenLabels` over the same slots.
        classes: the class numbers present, ascending; a continual or federated part may hold a few of `num_classes`.
        num_classes: how many classes the whole task has.
        mean, std: what the real data was normalised with, a number a channel; the artefact carries them.
        step_size: the learning rate that goes with the set: one number, or one for each training step `(t,)`, above 0. A
            learned parameter when `learn_step_size`: the number itself is learned, not its logarithm, so that published
            rates mean what they say and the file holds exactly what training uses; `constrain` keeps it above 0.

    Raises `ValueError` where these do not fit together.
    """

    class_numbers: Tensor
    mean: Tensor
    std: Tensor
    step_size: Tensor

    def __init__(
        self,
        images: Decoder,
        labels: Labels,
        *,
        classes: Sequence[int] | Tensor,
        num_classes: int,
        images_per_class: int,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
        step_size: float | Sequence[float] | Tensor = 0.01,
        learn_step_size: bool = False,
    ) -> None:
        super().__init__()
        numbers = torch.as_tensor(classes, dtype=torch.int64)
        if not len(numbers) or (numbers.diff() <= 0).any() or numbers[0] < 0 or numbers[-1] >= num_classes:
            raise ValueError(f"classes must ascend within 0..{num_classes - 1}, got {numbers.tolist()}")
        if images_per_class < 1:
            raise ValueError(f"images_per_class must be at least 1, got {images_per_class}")
        slots = len(numbers) * images_per_class
        if images.num_slots != slots or labels.num_slots != slots:
            raise ValueError(
                f"{len(numbers)} classes of {images_per_class} need {slots} slots, "
                f"images have {images.num_slots} and labels {labels.num_slots}"
            )
        self.images, self.labels = images, labels
        self.num_classes, self.images_per_class = num_classes, images_per_class
        self.learn_step_size = learn_step_size
        self.register_buffer("class_numbers", numbers)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).clone())
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).clone())
        size = torch.as_tensor(step_size, dtype=torch.float32).detach().clone()
        check_step_size(size)
        if learn_step_size:
            self.step_size = nn.Parameter(size)
        else:
            self.register_buffer("step_size", size)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def classes(self) -> Tensor:
        """The class numbers present, ascending, int64 `(k,)`."""
        return self.class_numbers

    @property
    def views(self) -> int:
        """How many images the parametrisation makes of one slot."""
        return self.images.views

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of one image, such as `(c, h, w)`."""
        return self.images.image_shape

    @property
    def num_slots(self) -> int:
        return len(self.class_numbers) * self.images_per_class

    def __len__(self) -> int:
        """How many images a network sees: slots times views."""
        return self.num_slots * self.views

    def _decode(self, slots: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        images, labels = self.images(slots, generator), self.labels(slots)
        return images, labels.repeat_interleave(self.views, 0) if self.views > 1 else labels

    def batch(self, size: int | None = None, generator: Generator | None = None) -> Batch:
        """All images and labels, flat; or those of `size` slots drawn without replacement."""
        slots = torch.arange(self.num_slots, device=self.device)
        if size is not None and size < self.num_slots:
            slots = torch.randperm(self.num_slots, generator=generator, device=self.device)[:size]
        return Batch(*self._decode(slots, generator))

    def by_class(self, generator: Generator | None = None, *, rows: slice = slice(None)) -> Batch:
        """All images and labels grouped by class, `(k, images_per_class * views, *shape)`; or those of the classes at `rows`."""
        slots = torch.arange(self.num_slots, device=self.device).view(-1, self.images_per_class)[rows]
        images, labels = self._decode(slots.flatten(), generator)
        grouped = (len(slots), -1)
        return Batch(images.unflatten(0, grouped), labels.unflatten(0, grouped))

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring what is learned back to where it has a meaning, after an update: step sizes to `SMALLEST_STEP_SIZE` or more.

        Gradient descent with this projection (HaBa's released code does the same, at 0.001) needs no other form of the number.
        """
        if self.learn_step_size:
            self.step_size.clamp_(min=SMALLEST_STEP_SIZE)

    @torch.no_grad()
    def as_dataset(self, *, normalised: bool = False) -> "SyntheticDataset":
        """A map-style dataset of (image, label), detached from the set.

        Images are in the data's own space, where real pixels lie in 0 to 1 (learned ones may leave it a little); of whitened
        data that space is the whitened one, and test images pass through the `Whitening` of the run.
        `normalised=True` gives what our evaluation trains on. Labels are class numbers, or probabilities where the set
        has soft ones.
        """
        images, labels = self.batch()[:2]
        if not normalised:
            channels = (-1, *[1] * (images.dim() - 2))
            images = images * self.std.view(channels) + self.mean.view(channels)
        return SyntheticDataset(images.detach().clone(), labels.detach().clone())

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticSet":
        """Read a released artefact; see `core_distill.synthetic.storage.load_artefact` for its metadata as well."""
        from core_distill.synthetic.storage import load_artefact

        return load_artefact(path).synthetic


def check_step_size(size: Tensor) -> None:
    """Raise `ValueError` unless `size` is one number or one for each step `(t,)`, finite and above 0."""
    if size.dim() > 1 or not size.numel():
        raise ValueError(f"step_size must be one number or one for each step, got shape {tuple(size.shape)}")
    if not (torch.isfinite(size) & (size > 0)).all():
        raise ValueError(f"step_size must be finite and above 0, got {size.min():g} to {size.max():g}")


class SyntheticDataset(TensorDataset):
    """(image, label) pairs as a `torch.utils.data.Dataset`; `targets` are class numbers, as Avalanche expects."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(images, labels)
        self.images, self.labels = images, labels
        self.targets: list[int] = (labels.argmax(-1) if labels.is_floating_point() else labels).tolist()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | int]:  # type: ignore[override]
        label = self.labels[index]
        return self.images[index], label if self.labels.is_floating_point() else int(label)
