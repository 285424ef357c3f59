"""One draw for the real and the synthetic batch: what is shared, what differs, and where the randomness comes from."""

import pytest
import torch

from core_distill.augment import DSA_OPERATIONS, Dsa, no_augment
from core_distill.augment.operations import OPERATIONS
from core_distill.randomness import derive_generator
from core_distill.types import Batch


def grouped(classes: int, size: int, *shape: int, seed: int = 0) -> Batch:
    images = torch.randn(classes, size, *shape, generator=derive_generator(seed))
    labels = torch.arange(classes)[:, None].expand(classes, size)
    return Batch(images, labels, torch.rand(classes, size, generator=derive_generator(seed)))


def same_images(classes: int, size: int, *shape: int) -> Batch:
    """Every image of every class the same."""
    batch = grouped(classes, size, *shape)
    return batch._replace(images=batch.images[:1, :1].expand_as(batch.images).clone())


@pytest.mark.parametrize("operations", [DSA_OPERATIONS, *((name,) for name in DSA_OPERATIONS)])
def test_an_image_in_both_batches_comes_out_the_same(operations):
    real, synthetic = grouped(6, 5, 3, 8, 12), grouped(6, 2, 3, 8, 12, seed=1)
    synthetic.images[:, 1] = real.images[:, 3]
    for seed in range(5):
        new_real, new_synthetic = Dsa(operations)(real, synthetic, derive_generator(seed))
        assert torch.equal(new_real.images[:, 3], new_synthetic.images[:, 1])
        assert new_real.images.shape == real.images.shape
        assert new_synthetic.images.shape == synthetic.images.shape


def test_a_class_shares_its_change_and_classes_differ():
    batch = same_images(40, 3, 3, 9, 8)
    changed, _ = Dsa(("color", "scale", "rotate"))(batch, batch, derive_generator(1))
    assert torch.equal(changed.images, changed.images[:, :1].expand_as(changed.images))
    firsts = changed.images[:, 0].flatten(1)
    assert len(firsts.unique(dim=0)) == 40


def test_each_class_draws_its_own_operation():
    """Only those asked for, on about as many classes each: told apart by what they do to a constant image."""
    images = torch.full((600, 1, 3, 16, 16), 2.0)
    batch = Batch(images, torch.zeros(600, 1, dtype=torch.int64))
    changed, _ = Dsa(("flip", "cutout", "color"))(batch, batch, derive_generator(2))
    same = (changed.images == 2).flatten(1).all(dim=1)
    cut = (changed.images == 0).flatten(1).any(dim=1)
    for share in (same, cut, ~same & ~cut):
        assert 150 < share.sum() < 250


def test_grouped_rows_get_the_operation_in_their_own_place():
    """Every row is its input under some operation with some parameters: constant classes stay apart by their value."""
    values = torch.arange(1.0, 13)
    batch = Batch(values[:, None, None, None, None].expand(12, 2, 1, 8, 8), torch.zeros(12, 2))
    changed, _ = Dsa(("crop", "cutout", "flip", "scale", "rotate"))(batch, batch, derive_generator(3))
    torch.testing.assert_close(changed.images.flatten(1).amax(dim=1), values)


def test_flat_batches_share_one_draw():
    batch = same_images(1, 7, 1, 8, 10)
    flat = Batch(batch.images[0], batch.labels[0])
    small = Batch(flat.images[:2], flat.labels[:2])
    real, synthetic = Dsa(("rotate", "scale"))(flat, small, derive_generator(4))
    assert real.images.shape == (7, 1, 8, 10)
    assert not torch.equal(real.images, flat.images)
    assert torch.equal(real.images, real.images[:1].expand_as(real.images))
    assert torch.equal(real.images[:2], synthetic.images)


def test_labels_and_weights_pass_through():
    real, synthetic = grouped(3, 4, 1, 8, 8), grouped(3, 2, 1, 8, 8)
    for augment in (Dsa(), no_augment):
        for old, new in zip((real, synthetic), augment(real, synthetic, derive_generator(0)), strict=True):
            assert new.labels is old.labels
            assert new.weights is old.weights
    assert no_augment(real, synthetic, derive_generator(0)) == (real, synthetic)


def test_per_image_draws_one_operation_and_parameters_for_each_image():
    images = same_images(1, 50, 3, 8, 12).images[0]
    for name in ("color", "scale", "rotate"):
        changed = Dsa((name,)).per_image(images, derive_generator(5))
        assert changed.shape == images.shape
        assert len(changed.flatten(1).unique(dim=0)) == 50
    constant = torch.full((50, 1, 8, 8), 2.0)
    kinds = set()
    for seed in range(20):
        cut = (Dsa(("flip", "cutout")).per_image(constant, derive_generator(seed)) == 0).flatten(1).any(dim=1)
        assert cut.all() or not cut.any()
        kinds.add(bool(cut.all()))
    assert kinds == {True, False}


def test_per_image_equals_the_operation_on_each_image_alone():
    images = grouped(1, 6, 3, 8, 12).images[0]
    generator = derive_generator(6)
    changed = Dsa(("rotate",)).per_image(images, generator)
    twin = derive_generator(6)
    torch.randint(1, (1,), generator=twin)
    (angles,) = OPERATIONS["rotate"].draw(6, 8, 12, twin)
    for image, angle, result in zip(images, angles, changed, strict=True):
        torch.testing.assert_close(OPERATIONS["rotate"].apply(image[None, None], angle[None])[0, 0], result)
    assert torch.equal(generator.get_state(), twin.get_state())


def test_a_seed_fixes_every_bit_and_the_global_generator_is_left_alone():
    real, synthetic = grouped(5, 4, 3, 8, 8), grouped(5, 2, 3, 8, 8)
    before = torch.random.get_rng_state()
    first, again, other = (Dsa()(real, synthetic, derive_generator(seed))[0].images for seed in (1, 1, 2))
    flat, same_flat, other_flat = (Dsa().per_image(real.images[0], derive_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(flat, same_flat)
    assert not torch.equal(flat, other_flat)


def test_what_is_drawn_does_not_depend_on_the_batch_sizes():
    real, synthetic = grouped(5, 6, 1, 8, 8), grouped(5, 2, 1, 8, 8)
    long, _ = Dsa()(real, synthetic, derive_generator(7))
    short, _ = Dsa()(real._replace(images=real.images[:, :3]), synthetic, derive_generator(7))
    torch.testing.assert_close(long.images[:, :3], short.images)


def test_gradients_reach_both_batches():
    real, synthetic = grouped(12, 3, 3, 8, 10), grouped(12, 2, 3, 8, 10)
    inputs = [real.images.requires_grad_(), synthetic.images.requires_grad_()]
    outputs = Dsa()(real, synthetic, derive_generator(8))
    gradients = torch.autograd.grad(sum(batch.images.square().sum() for batch in outputs), inputs)
    for gradient in gradients:
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).abs().sum(dim=1) > 0).all()


def test_the_inputs_are_not_changed():
    real, synthetic = grouped(8, 3, 1, 8, 8), grouped(8, 2, 1, 8, 8)
    before = real.images.clone()
    Dsa()(real, synthetic, derive_generator(9))
    Dsa().per_image(real.images[0], derive_generator(9))
    assert torch.equal(real.images, before)


def test_an_unknown_operation_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"\['twirl'\].*color, crop, cutout, flip, scale, rotate"):
        Dsa(("flip", "twirl"))


def test_without_operations_nothing_changes():
    images = torch.rand(4, 1, 8, 8)
    assert no_augment.per_image(images, derive_generator(0)) is images


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((2, 3, 1, 8, 8), (3, 3, 1, 8, 8)),
        ((2, 3, 1, 8, 8), (2, 3, 1, 8, 9)),
        ((2, 3, 1, 8, 8), (3, 1, 8, 8)),
        ((2, 5), (2, 5)),
    ],
)
def test_batches_that_do_not_match_are_refused_with_both_shapes(first, second):
    batches = [Batch(torch.zeros(shape), torch.zeros(shape[:1])) for shape in (first, second)]
    with pytest.raises(ValueError, match="same classes"):
        Dsa()(*batches, derive_generator(0))


def test_equal_operations_make_equal_augmentations():
    assert Dsa() == Dsa(("color", "crop", "cutout", "flip", "scale", "rotate"))
    assert Dsa(("flip",)) != Dsa()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_cuda_device_nothing_waits_and_calls_differ():
    generator = derive_generator(1, device="cuda")
    real, synthetic = (
        batch._replace(images=batch.images.cuda())
        for batch in (same_images(20, 3, 3, 8, 8), same_images(20, 2, 3, 8, 8))
    )
    torch.cuda.set_sync_debug_mode("error")
    try:
        first, other = (Dsa()(real, synthetic, generator)[0].images for _ in range(2))
        Dsa().per_image(real.images[0], generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not torch.equal(first, other)
    again, _ = Dsa()(real, synthetic, derive_generator(1, device="cuda"))
    assert torch.equal(first, again.images)
