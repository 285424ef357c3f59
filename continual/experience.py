"""The door to Avalanche's data sets: what a network sees of an experience, and a data set whose tuples look the same.

Replay mixes current and remembered examples in one mini-batch, and Avalanche collates them together, so both must be
tuples of the same length with labels of the same type. Avalanche's own class-balanced buffers always add a task label
and therefore crash on streams without one.
"""

from typing import NamedTuple, Protocol

import torch
from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute
from avalanche.benchmarks.utils.classification_dataset import (
    ClassificationDataset,
    TaskAwareSupervisedClassificationDataset,
)
from torch import Tensor
from torch.utils.data import Dataset


class Experience(Protocol):
    """What of an Avalanche experience is used here: its data set."""

    @property
    def dataset(self) -> AvalancheDataset: ...


class Layout(NamedTuple):
    """How the tuples of a stream look: `(image, label)` or `(image, label, task)`, labels as tensors or as numbers."""

    task_labels: bool = False
    tensor_labels: bool = False


class Examples(NamedTuple):
    """An experience in memory: images `(n, c, *rest)` float32, labels `(n,)` and tasks `(n,)` int64."""

    images: Tensor
    labels: Tensor
    tasks: Tensor
    layout: Layout


def read_experience(experience: Experience) -> Examples:
    """All examples of an experience as a network sees them in evaluation: through the `eval` transforms, no augmentation.

    Examples are read one by one and in order, without a data loader, which would draw from the global generator. Tasks are
    0 where the stream has no task labels. Raises `ValueError` where tuples are not `(image, label)` or
    `(image, label, task)`, or images do not arrive as floating point tensors.
    """
    dataset = experience.dataset.eval()
    items = [tuple(dataset[index]) for index in range(len(dataset))]
    first = items[0]
    if len(first) not in (2, 3):
        raise ValueError(f"examples must be (image, label) or (image, label, task), got tuples of {len(first)}")
    image = first[0]
    if not isinstance(image, Tensor) or not image.is_floating_point():
        found = str(image.dtype) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"images must reach the network as floating point tensors, got {found}; give the stream an eval transform "
            "that ends in one, such as torchvision.transforms.ToTensor()"
        )
    return Examples(
        torch.stack([item[0] for item in items]).float(),
        torch.tensor([int(item[1]) for item in items]),
        torch.tensor([int(item[2]) if len(item) == 3 else 0 for item in items]),
        Layout(task_labels=len(first) == 3, tensor_labels=isinstance(first[1], Tensor)),
    )


def as_avalanche_dataset(images: Tensor, labels: Tensor, tasks: Tensor, layout: Layout) -> AvalancheDataset:
    """Tensors as a data set of Avalanche with tuples as `layout` says; it has no transforms: images stay as they are."""
    source = _Pairs(images, labels, tensor_labels=layout.tensor_labels)
    attributes = [DataAttribute(labels.tolist(), "targets")]
    if not layout.task_labels:
        return ClassificationDataset([source], data_attributes=attributes)
    attributes.append(DataAttribute(tasks.tolist(), "targets_task_labels", use_in_getitem=True))
    return TaskAwareSupervisedClassificationDataset([source], data_attributes=attributes)


class _Pairs(Dataset[tuple[Tensor, Tensor | int]]):
    """(image, label) pairs out of two tensors."""

    def __init__(self, images: Tensor, labels: Tensor, *, tensor_labels: bool) -> None:
        self.images, self.labels, self.tensor_labels = images, labels, tensor_labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor | int]:
        label = self.labels[index]
        return self.images[index], label if self.tensor_labels else int(label)
