"""Operations one after the other: each as DSA alone would, drawn once for both batches, or for each image."""

import pytest
import torch

from core_distill.augment import Dsa
from core_distill.augment.successive import Successive
from core_distill.randomness import derive_generator
from core_distill.types import Batch

OPERATIONS = ("color", "crop", "cutout")


@pytest.fixture
def batches(sampler):
    return sampler.by_class(5, derive_generator(0)), sampler.by_class(2, derive_generator(1))


def test_is_each_operation_in_turn(batches):
    changed = Successive(OPERATIONS)(*batches, derive_generator(2))
    generator, expected = derive_generator(2), batches
    for name in OPERATIONS:
        expected = Dsa((name,))(*expected, generator)
    for ours, wanted, before in zip(changed, expected, batches, strict=True):
        assert torch.equal(ours.images, wanted.images)
        assert torch.equal(ours.labels, before.labels)
        assert not torch.equal(ours.images, before.images)


def test_both_batches_are_changed_alike(batches):
    real, _ = batches
    first, second = Successive(OPERATIONS)(real, Batch(real.images[:, :2], real.labels[:, :2]), derive_generator(2))
    torch.testing.assert_close(first.images[:, :2], second.images)


def test_images_alone_have_draws_of_their_own():
    images = torch.ones(4, 1, 8, 8) + torch.rand(1, 1, 8, 8, generator=derive_generator(0))
    changed = Successive(("color", "crop")).per_image(images.expand(4, 1, 8, 8), derive_generator(1))
    assert changed.shape == images.shape
    assert not torch.allclose(changed[0], changed[1])


def test_without_operations_nothing_changes(batches):
    nothing = Successive(())
    for ours, before in zip(nothing(*batches, derive_generator(0)), batches, strict=True):
        assert torch.equal(ours.images, before.images)
    images = batches[0].images[0]
    assert torch.equal(nothing.per_image(images, derive_generator(0)), images)


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="unknown DSA operations"):
        Successive(("color", "sharpen"))
