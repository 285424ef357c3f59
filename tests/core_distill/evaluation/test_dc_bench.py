"""DC-BENCH: the grid it trains, what it says of it, and that the test images choose nothing."""

import functools

import pytest
import torch

from core_distill.augment import dsa_for, no_augment
from core_distill.data import DataSplits, from_tensors, whiten
from core_distill.evaluation import (
    Benchmarked,
    Protocol,
    Score,
    are_pixels,
    augmentations_for,
    evaluate,
    measure_dc_bench,
)
from core_distill.networks import MLP, ConvNet
from core_distill.recipes import find_recipe, prepare
from core_distill.synthetic import HardLabels, Pixels, SyntheticSet

SMALL = functools.partial(ConvNet, width=4, depth=2)
PROTOCOL = Protocol(network=SMALL, num_networks=2, epochs=2)


def scores(table):
    return {name: {key: Score((value,)) for key, value in row.items()} for name, row in table.items()}


FOUND = Benchmarked(
    test=scores(
        {
            "own": {"none": 0.5, "dsa": 0.9, "randaugment": 0.7},
            "second": {"none": 0.4, "dsa": 0.1, "randaugment": 0.3},
            "third": {"none": 0.2, "dsa": 0.6, "randaugment": 0.3},
        }
    ),
    validation=scores(
        {
            "own": {"none": 0.1, "dsa": 0.2, "randaugment": 0.3},
            "second": {"none": 0.3, "dsa": 0.2, "randaugment": 0.1},
            "third": {"none": 0.1, "dsa": 0.9, "randaugment": 0.1},
        }
    ),
)


def test_what_the_grid_says_is_chosen_on_validation_images_and_read_on_the_test_images():
    assert FOUND.best_over_augmentations == 0.7
    assert FOUND.mean_over_augmentations == pytest.approx(0.7)
    assert FOUND.mean_transfer == pytest.approx((0.4 + 0.6) / 2)
    assert FOUND.as_json()["best_augmentations"] == {"own": "randaugment", "second": "none", "third": "dsa"}


def test_without_another_architecture_there_is_no_transfer():
    alone = Benchmarked(**{part: {"own": getattr(FOUND, part)["own"]} for part in ("test", "validation")})
    assert alone.mean_transfer is None


@pytest.fixture
def synthetic(sampler):
    recipe = find_recipe("dc", images_per_class=2).with_values({"width": 4, "depth": 2})
    return prepare(sampler, recipe, seed=0).synthetic


@pytest.fixture
def data(sampler):
    validation, test = sampler.subset(torch.arange(0, 36, 3)), sampler.subset(torch.arange(1, 36, 2))
    return DataSplits("toy", sampler, validation, test, ("a", "b", "c"), True, "0" * 16)


def test_every_architecture_under_every_augmentation(synthetic, data):
    augmentations = augmentations_for(synthetic, "digits")
    assert list(augmentations) == ["none", "dsa", "autoaugment", "randaugment"]
    architectures = {"small": SMALL, "mlp": functools.partial(MLP, hidden=(4,))}
    before, names = torch.get_rng_state(), []

    def keep(name, measure):
        names.append(name)
        return measure()

    found = measure_dc_bench(
        synthetic, data, PROTOCOL, architectures=architectures, augmentations=augmentations, seed=0, keep=keep
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert names == [f"{network}, {augmentation}" for network in architectures for augmentation in augmentations]
    assert [list(row) for row in found.test.values()] == [list(augmentations)] * 2
    own = Protocol(network=SMALL, num_networks=2, epochs=2, augment=dsa_for("digits"))
    assert found.test["small"]["dsa"] == evaluate(synthetic.batch(), data.test, own, seed=0)
    assert found.validation["small"]["dsa"] == evaluate(synthetic.batch(), data.validation, own, seed=0)


def test_what_is_no_image_has_no_augmentation(synthetic):
    class Sequences:
        def batch(self):
            return synthetic.batch()._replace(images=torch.zeros(6, 3, 5))

    assert augmentations_for(Sequences(), "texts") == {"none": no_augment}


def test_an_empty_grid_is_refused(synthetic, data):
    with pytest.raises(ValueError, match="at least one architecture and one augmentation"):
        measure_dc_bench(synthetic, data, PROTOCOL, architectures={}, augmentations={"none": no_augment}, seed=0)


def test_policies_of_pixels_are_for_pixels():
    """Of 1 or 3 channels, from 0 to 1 or of 8 bits."""
    labels = torch.arange(40) % 2

    def splits(images):
        return from_tensors((images, labels), (images, labels))

    unit = torch.rand(40, 1, 8, 8)
    assert are_pixels(splits(unit))
    assert are_pixels(splits((255 * unit).to(torch.uint8)))
    assert not are_pixels(splits(255 * unit))
    assert not are_pixels(splits(2 * unit - 1))
    assert not are_pixels(whiten(splits(unit)))
    for channels, names in ((1, 4), (3, 4), (2, 2)):
        synthetic = SyntheticSet(
            Pixels(torch.rand(2, channels, 8, 8)),
            HardLabels(torch.arange(2), 2),
            classes=range(2),
            num_classes=2,
            images_per_class=1,
            mean=[0.0] * channels,
            std=[1.0] * channels,
        )
        assert len(augmentations_for(synthetic, "toy")) == names


def test_policies_of_pixels_are_refused_for_whitened_images(synthetic, data):
    augmentations, whitened = augmentations_for(synthetic, "digits"), whiten(data)
    grid = {"architectures": {"mlp": MLP}, "seed": 0}
    with pytest.raises(ValueError, match="autoaugment, randaugment changes pixels from 0 to 1, and toy is whitened"):
        measure_dc_bench(synthetic, whitened, PROTOCOL, augmentations=augmentations, **grid)
    known = {name: augmentations[name] for name in ("none", "dsa")}
    found = measure_dc_bench(synthetic, whitened, PROTOCOL, augmentations=known, **grid)
    assert set(found.test["mlp"]) == {"none", "dsa"}
