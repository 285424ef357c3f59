"""Small synthetic sets with every label mode, their files, and forged ones."""

import contextlib
import json
import resource
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from core_distill.synthetic import GivenLabels, HardLabels, Pixels, SoftLabels, SyntheticSet
from core_distill.synthetic.storage import encode_artefact


def small_set(
    mode="hard",
    images=None,
    *,
    classes=(0, 2),
    num_classes=3,
    images_per_class=2,
    step_size=0.02,
    learn_step_size=False,
):
    """Two of three classes, two 1 x 2 x 3 images each, unless told otherwise."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor(classes).repeat_interleave(images_per_class)
    if images is None:
        images = torch.randn(len(targets), 1, 2, 3, generator=generator)
    labels = {
        "hard": lambda: HardLabels(targets, num_classes),
        "soft": lambda: SoftLabels(torch.randn(len(targets), num_classes, generator=generator)),
        "given": lambda: GivenLabels(torch.rand(len(targets), num_classes, generator=generator).softmax(1)),
    }
    return SyntheticSet(
        Pixels(images),
        labels[mode](),
        classes=classes,
        num_classes=num_classes,
        images_per_class=images_per_class,
        mean=[0.25] * images.shape[1],
        std=[0.5] * images.shape[1],
        step_size=step_size,
        learn_step_size=learn_step_size,
    )


@pytest.fixture(scope="session")
def make_set():
    return small_set


@pytest.fixture(scope="session")
def artefacts(make_set):
    """One small file of each label mode, by mode."""
    return {mode: encode_artefact(make_set(mode), metadata={"seed": 3}) for mode in ("given", "hard", "soft")}


@pytest.fixture
def little_memory():
    """At most 256 MiB more than now: an allocation of a claimed size fails with another message."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@contextlib.contextmanager
def _within_a_second():
    start = time.process_time()
    yield
    assert time.process_time() - start < 1


@pytest.fixture
def quickly(little_memory):
    """A block that has little memory and one second."""
    return _within_a_second


def _rebuilt(data, change_layout=None, change_tensors=None):
    """The file with other metadata or tensors, otherwise well formed."""
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = json.loads(header["__metadata__"]["stillroom"])
    if change_layout:
        change_layout(metadata["layout"])
    if change_tensors:
        change_tensors(tensors)
    return safetensors.torch.save(tensors, {"stillroom": json.dumps(metadata, sort_keys=True)})


@pytest.fixture(scope="session")
def rebuilt():
    return _rebuilt
