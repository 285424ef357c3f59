"""Streams of both of Avalanche's kinds over small data, and recipes that take a fraction of a second."""

import io
from collections.abc import Callable

import pytest
import torch
from avalanche.benchmarks import class_incremental_benchmark, nc_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.logging import TextLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch import nn
from torch.utils.data import Dataset

from core_distill.recipes import Recipe, dm


class Pairs(Dataset):
    """(image, label) pairs with `targets`, the least that Avalanche's benchmark builders take."""

    def __init__(self, images, labels, *, tensor_labels=False):
        self.images, self.labels, self.tensor_labels = images, labels, tensor_labels
        self.targets = labels.tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return self.images[index], self.labels[index] if self.tensor_labels else self.targets[index]


def _random_pairs(num_classes=6, per_class=8, shape=(1, 8, 8), **options):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(num_classes * per_class, *shape, generator=generator)
    return Pairs(images, torch.arange(num_classes * per_class) % num_classes, **options)


def _with_task_labels(data, num_experiences=3, **options):
    """A legacy NC scenario, as SplitMNIST and the like: tuples (image, label, task)."""
    return nc_benchmark(data, data, num_experiences, task_labels=False, seed=0, **options)


def _without_task_labels(data, num_experiences=3):
    """The newer kind of stream: tuples (image, label)."""
    dataset = as_classification_dataset(data)
    return class_incremental_benchmark(
        {"train": dataset, "test": dataset},
        num_experiences=num_experiences,
        class_order=list(range(len(set(data.targets)))),
    )


@pytest.fixture(params=[_with_task_labels, _without_task_labels], ids=["with_task_labels", "without_task_labels"])
def new_stream(request) -> Callable:
    """`new_stream(data, num_experiences)`."""
    return request.param


@pytest.fixture
def stream(new_stream):
    """Three experiences of two classes with eight random images each."""
    return new_stream(_random_pairs())


@pytest.fixture
def with_task_labels() -> Callable:
    """`with_task_labels(data, num_experiences, **options)`."""
    return _with_task_labels


@pytest.fixture
def without_task_labels() -> Callable:
    """`without_task_labels(data, num_experiences)`."""
    return _without_task_labels


@pytest.fixture
def random_pairs() -> Callable:
    """`random_pairs(num_classes, per_class, shape, tensor_labels=False)`."""
    return _random_pairs


@pytest.fixture
def recipe() -> Recipe:
    return dm(images_per_class=1, data="digits", schedule="cpu").with_values(
        {"steps": 2, "batch_size": 4, "width": 4, "depth": 1}
    )


@pytest.fixture
def new_strategy() -> Callable:
    """`new_strategy(plugins, kind=Naive)`: a strategy around a fresh linear model for 8 x 8 images of 6 classes."""
    return _new_strategy


def _new_strategy(plugins=(), kind=Naive, epochs=1):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    return kind(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        train_epochs=epochs,
        eval_mb_size=64,
        plugins=list(plugins),
        evaluator=EvaluationPlugin(loggers=[TextLogger(io.StringIO())]),
    )
