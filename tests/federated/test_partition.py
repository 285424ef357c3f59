import subprocess
import sys

import pytest
import torch

from core_distill.data import ClassSampler
from federated import dirichlet_partition, iid_partition, pathological_partition


def class_counts(real, part):
    return real.labels[part].bincount(minlength=real.num_classes)


@pytest.fixture
def real():
    labels = torch.arange(10).repeat_interleave(40)
    return ClassSampler(torch.zeros(400, 1, 2, 2, dtype=torch.uint8), labels, num_classes=10, mean=[0], std=[1])


def test_every_example_goes_to_exactly_one_client(real):
    for parts in (
        iid_partition(real, 7, seed=0),
        dirichlet_partition(real, 7, alpha=0.3, seed=0),
        pathological_partition(real, 12, classes_per_client=2, seed=0),
    ):
        assert torch.equal(torch.cat(parts).sort().values, torch.arange(400))
        assert all(part.dtype == torch.int64 and torch.equal(part, part.sort().values) for part in parts)


def test_seeds_decide(real):
    def cuts(seed):
        return [
            torch.cat(iid_partition(real, 4, seed=seed)),
            torch.cat(dirichlet_partition(real, 4, alpha=0.5, seed=seed)),
            torch.cat(pathological_partition(real, 4, classes_per_client=3, seed=seed)),
        ]

    assert all(torch.equal(*pair) for pair in zip(cuts(3), cuts(3), strict=True))
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in zip(cuts(3), cuts(4), strict=True))


def test_equal_parts_have_every_class(real):
    """Samplers are sorted by class: cut without shuffling, each part would hold two or three classes."""
    parts = iid_partition(real, 4, seed=0)
    assert [len(part) for part in parts] == [100] * 4
    assert all((class_counts(real, part) > 0).all() for part in parts)


def test_classes_spread_as_the_dirichlet_distribution_says(real):
    """A share has the variance (1/n)(1 - 1/n) / (n alpha + 1) over n clients."""

    def spread(alpha):
        drawn = [dirichlet_partition(real, 4, alpha=alpha, seed=seed) for seed in range(24)]
        counts = torch.stack([torch.stack([class_counts(real, part) for part in parts]) for parts in drawn]).double()
        shares = counts / counts.sum(1, keepdim=True)
        return (shares - 0.25).square().mean().sqrt().item()

    for alpha in (0.1, 1.0, 100.0):
        assert spread(alpha) == pytest.approx((0.1875 / (4 * alpha + 1)) ** 0.5, rel=0.15)


def test_pathological_clients_hold_the_number_of_classes_asked_for(real):
    parts = pathological_partition(real, 5, classes_per_client=2, seed=0)
    assert [int((class_counts(real, part) > 0).sum()) for part in parts] == [2] * 5


def test_classes_that_nobody_holds_are_in_no_part(real):
    parts = pathological_partition(real, 2, classes_per_client=2, seed=0)
    assert 80 <= sum(len(part) for part in parts) <= 160


def test_bad_settings_say_what_is_allowed(real):
    with pytest.raises(ValueError, match=r"alpha must be above 0, got 0"):
        dirichlet_partition(real, 4, alpha=0, seed=0)
    with pytest.raises(ValueError, match=r"larger alpha or fewer clients"):
        dirichlet_partition(real, 300, alpha=0.01, seed=0)
    with pytest.raises(ValueError, match=r"classes_per_client must lie in 1..10, got 11"):
        pathological_partition(real, 4, classes_per_client=11, seed=0)
    with pytest.raises(ValueError, match=r"num_clients must lie in 1..400, .*got 401"):
        iid_partition(real, 401, seed=0)


def test_importing_the_package_loads_neither_flower_nor_ray():
    code = (
        "import os, sys, federated; loaded = {name.split('.')[0] for name in sys.modules};"
        "assert not loaded & {'flwr', 'ray', 'datasets', 'torch'}, loaded;"
        "assert os.environ['FLWR_TELEMETRY_ENABLED'] == '0';"
        "assert federated.__all__ == sorted(federated.__all__);"
        "assert all(getattr(federated, name) is not None for name in federated.__all__);"
        "from flwr.supercore import telemetry; assert telemetry.FLWR_TELEMETRY_ENABLED == '0'"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
