"""Everything at a size of milliseconds."""

import pytest

from core_distill.benchmark import Size, make_inputs

TINY = Size(
    num_classes=3,
    images_per_class=2,
    side=8,
    inner_steps=2,
    width=4,
    batch_real=4,
    real_images=30,
    test_images=10,
)


@pytest.fixture
def tiny():
    return TINY


@pytest.fixture
def instant(monkeypatch):
    """Jobs that end at once; returns what was asked for."""
    asked = []

    def done(job):
        asked.append(job)
        return job.name, {**job.row, "bytes": 6_500, "images": 100, "accuracy": {"accuracies": [0.5]}}

    monkeypatch.setattr("core_distill.benchmark.accuracy.do", done)
    return asked


@pytest.fixture
def inputs():
    return make_inputs(TINY)
