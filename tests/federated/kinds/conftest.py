"""Toy sets of every kind of images that clients may send."""

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.recipes import LABEL_MODES, dc, dm, initial_set
from federated import (
    Agreement,
)

VALUES = {
    "addressable-memory": {"bases": 4, "downscale": 1},
    "hallucinated-bases": {"hallucinators": 2},
    "low-rank": {"rank": 2},
    "multi-formation": {"factor": 2},
    "pixels": {},
    "random-basis": {"compression": 3},
    "shared-decoders": {"decoders": 2, "code_channels": 3, "decoder_width": 2, "fit_steps": 1},
}
"""Toy sizes of each kind that may be sent."""


def _data_of(shape=(1, 8, 8), num_classes=3, classes=(0, 1, 2), seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (12 * len(classes), *shape), dtype=torch.uint8, generator=generator)
    labels = torch.tensor(classes).repeat(12)
    channels = shape[0]
    return ClassSampler(images, labels, num_classes=num_classes, mean=[0.5] * channels, std=[0.25] * channels)


@pytest.fixture
def data_of():
    """`data_of(shape=, num_classes=, classes=, seed=)`: a dozen images of each class."""
    return _data_of


def _recipe_of(kind="pixels", *, images_per_class=8, labels="hard", **values):
    """DM, or DC where labels are learned, at toy size."""
    toy = {"steps": 1, "batch_size": 4, "width": 4, "depth": 1, **VALUES.get(kind, {}), **values}
    base = dm(images_per_class=images_per_class, data="digits", schedule="cpu")
    if LABEL_MODES[labels].learned:
        base = dc(images_per_class=images_per_class, data="digits", schedule="cpu")
        toy |= {"outer_steps": 1, "inner_epochs": 1}
    return base.with_values({"images": kind, "labels": labels, **toy})


@pytest.fixture
def recipe_of():
    """`recipe_of(kind, images_per_class=, labels=, ...)`: a recipe at toy size."""
    return _recipe_of


@pytest.fixture
def toy_values():
    """The values of each kind that make it small."""
    return VALUES


@pytest.fixture(scope="package")
def sets():
    """Of each kind that may be sent: a recipe, its set at the start, and what was agreed."""
    made = {}
    for kind in VALUES:
        recipe = _recipe_of(kind)
        made[kind] = (initial_set(_data_of(), recipe, seed=0), Agreement.for_recipe(_data_of(), recipe))
    return made
