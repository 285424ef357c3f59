"""Cutting, normalising and naming data sets."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.data import from_tensors, whiten
from core_distill.data.digest import content_digest
from core_distill.data.reading import ChannelStatistics
from core_distill.data.splits import Examples, channel_statistics, fixed_test_split, stratified_split
from core_distill.randomness import derive_generator


def coloured(count, *, seed=0, classes=3):
    generator = derive_generator(seed)
    images = torch.randint(0, 256, (count, 3, 4, 6), generator=generator, dtype=torch.uint8)
    return images, torch.arange(count) % classes


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 100))
def test_stratified_split(labels, fraction, seed):
    labels = torch.tensor(labels)
    kept, held_out = stratified_split(labels, fraction, derive_generator(seed))
    assert torch.cat([kept, held_out]).sort().values.tolist() == list(range(len(labels)))
    assert kept.tolist() == sorted(kept.tolist())
    assert held_out.tolist() == sorted(held_out.tolist())
    for number in labels.unique():
        total, held = int((labels == number).sum()), int((labels[held_out] == number).sum())
        assert total - held >= 1
        assert held >= (total > 1)
        assert abs(held - fraction * total) <= 1


def test_the_fixed_test_split_is_a_fifth_and_fixed():
    images, labels = coloured(30)
    train, test = fixed_test_split(Examples(images, labels))
    assert test.labels.bincount().tolist() == [2, 2, 2]
    assert len(train.images) == 24
    assert torch.equal(test.images, fixed_test_split(Examples(images, labels))[1].images)


@settings(deadline=None)
@given(st.integers(1, 9), st.booleans(), st.integers(0, 50))
def test_statistics_match_torch(count, as_bytes, seed):
    images, _ = coloured(count, seed=seed)
    values = images.double() / 255
    mean, std = channel_statistics(images if as_bytes else values)
    assert torch.allclose(mean, values.mean((0, 2, 3)))
    assert torch.allclose(std, values.std((0, 2, 3), correction=0))


def test_statistics_over_more_than_one_chunk_and_of_a_constant_channel():
    images = torch.rand(2500, 2, generator=derive_generator(0)) * torch.tensor([1.0, 0.0]) + 0.1
    mean, std = channel_statistics(images)
    assert torch.allclose(mean, images.double().mean(0))
    assert torch.allclose(std[0], images[:, 0].double().std(correction=0))
    assert std[1] == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.floats(-1e4, 1e4), st.integers(0, 99))
def test_statistics_do_not_depend_on_the_pieces_they_come_in(sizes, offset, seed):
    """Also where the mean is far from 0, and the first images are unlike the others."""
    images = torch.randn(sum(sizes), 2, 3, 3, generator=derive_generator(seed), dtype=torch.float64) + offset
    images[: sizes[0]] -= 100
    seen = ChannelStatistics()
    for piece in images.split(sizes):
        seen.add(piece)
    mean, std = seen.result()
    torch.testing.assert_close(mean, images.mean((0, 2, 3)), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(std, images.std((0, 2, 3), correction=0), rtol=1e-8, atol=1e-9)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match="no images were added"):
        ChannelStatistics().result()


def test_only_train_is_looked_at_for_the_normalisation():
    images, labels = coloured(30)
    first = from_tensors((images, labels), coloured(6, seed=1))
    second = from_tensors((images, labels), (torch.full_like(images[:6], 255), labels[:6]))
    assert torch.equal(first.train.mean, second.train.mean)
    assert not first.public_normalisation
    pixels = first.train.take(torch.arange(len(first.train))).images
    assert torch.allclose(pixels.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(pixels.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    for sampler in (first.validation, first.test):
        assert torch.equal(sampler.mean, first.train.mean)
        assert torch.equal(sampler.std, first.train.std)


def test_given_constants_count_as_public():
    splits = from_tensors(coloured(30), coloured(6), mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1])
    assert splits.public_normalisation
    assert torch.allclose(splits.test.mean, torch.tensor([0.5, 0.4, 0.3]))
    with pytest.raises(ValueError, match="mean and std belong together"):
        from_tensors(coloured(30), coloured(6), mean=[0.5, 0.4, 0.3])


def test_other_constants_are_those_that_were_given_at_once():
    given, other = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}, {"mean": [0.1] * 3, "std": [2.0] * 3}
    direct = from_tensors(coloured(30), coloured(6), **given)
    own, others = (from_tensors(coloured(30), coloured(6), **kind) for kind in ({}, other))
    own.train.digest()
    before = own.train.take(torch.arange(3)).images
    for start in (own, others):
        changed = start.normalised(torch.tensor(given["mean"]), torch.tensor(given["std"]))
        assert changed.public_normalisation
        assert changed.digest == direct.digest
        for part in ("train", "validation", "test"):
            ours, theirs = getattr(changed, part), getattr(direct, part)
            assert torch.equal(ours.take(torch.arange(3)).images, theirs.take(torch.arange(3)).images)
            assert ours.digest() == theirs.digest()
    assert not own.public_normalisation
    assert torch.equal(own.train.take(torch.arange(3)).images, before)
    with pytest.raises(ValueError, match="mean needs one number for each of 3 channels"):
        direct.normalised([0.0], [1.0])


def test_whitened_examples_take_no_other_constants():
    data = whiten(from_tensors(coloured(30), coloured(6)), 0.1)
    with pytest.raises(ValueError, match="tensors is whitened; normalise it before"):
        data.normalised([0.0] * 3, [1.0] * 3)


def test_train_and_validation_share_nothing_and_follow_the_seed():
    images, labels = coloured(30)
    first, again, other = (
        from_tensors((images, labels), coloured(6), validation_fraction=0.2, seed=seed) for seed in (0, 0, 1)
    )
    assert first.validation.class_sizes.tolist() == [2, 2, 2]
    together = torch.cat([first.train.images, first.validation.images]).flatten(1).tolist()
    assert sorted(together) == sorted(images.flatten(1).tolist())
    assert torch.equal(first.validation.images, again.validation.images)
    assert not torch.equal(first.validation.images, other.validation.images)
    assert torch.equal(first.test.images, other.test.images)
    assert first.digest == again.digest == other.digest


def test_unbalanced_classes_each_keep_a_train_image():
    images, _ = coloured(13)
    labels = torch.tensor([0] * 10 + [1, 1] + [2])
    splits = from_tensors((images, labels), (images, labels))
    assert splits.train.class_sizes.tolist() == [9, 1, 1]
    assert splits.validation.classes.tolist() == [0, 1]


def test_the_digest_names_every_byte():
    images, labels = coloured(6)
    digest = content_digest(images, labels, images, labels)
    assert digest == "e5a4aa671a59f25e"
    changed = images.clone()
    changed[3, 1, 2, 2] += 1
    swapped = labels.flip(0)
    others = [
        (Examples(changed, labels), Examples(images, labels)),
        (Examples(images, labels), Examples(changed, labels)),
        (Examples(images, swapped), Examples(images, labels)),
        (Examples(images.view(6, 3, 6, 4), labels), Examples(images, labels)),
        (Examples(images.float(), labels), Examples(images, labels)),
    ]
    assert len({digest, *(content_digest(*other[0], *other[1]) for other in others)}) == 6


def test_the_digest_is_sha256_over_types_shapes_and_bytes():
    examples = Examples(torch.tensor([[[[7]]]], dtype=torch.uint8), torch.tensor([1]))
    one = b"uint8 (1, 1, 1, 1)" + b"\x07" + b"int64 (1,)" + (1).to_bytes(8, "little")
    assert content_digest(*examples, *examples) == hashlib.sha256(one + one).hexdigest()[:16]


def test_splits_move_together():
    splits = from_tensors(coloured(30), coloured(6), name="mine", class_names=["a", "b", "c"])
    moved = splits.to("cpu")
    assert (moved.name, moved.class_names, moved.digest) == ("mine", ("a", "b", "c"), splits.digest)
    assert moved.train is splits.train


IMAGES, LABELS = coloured(30)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((IMAGES, LABELS[:9]), (IMAGES, LABELS), r"train set: labels need the shape \(30,\)"),
        ((IMAGES, LABELS), (IMAGES, LABELS - 1), "test set: labels must lie in 0"),
        ((IMAGES / 255, LABELS), (IMAGES * torch.nan, LABELS), "test set: image 0 holds NaN"),
        ((IMAGES, LABELS), (IMAGES[:0], LABELS[:0]), "test set: images need the shape"),
        ((IMAGES, LABELS), (IMAGES[:, :1], LABELS), r"must be alike, got \(3, 4, 6\) torch.uint8 and \(1, 4, 6\)"),
        ((IMAGES, LABELS), (IMAGES / 255, LABELS), "must be alike.* torch.float32"),
        ((IMAGES, LABELS * 2), (IMAGES, LABELS), r"no examples of class 1 \(1\), 3 \(3\)"),
        ((IMAGES[:3], LABELS[:3]), (IMAGES, LABELS), "single train image"),
    ],
)
def test_unfit_sets_are_refused(train, test, message):
    with pytest.raises(ValueError, match=message):
        from_tensors(train, test)


def test_unfit_names_and_fractions_are_refused():
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1 \(2 classes\), got 0\.\.2"):
        from_tensors((IMAGES, LABELS), (IMAGES, LABELS), class_names=["a", "b"])
    for fraction in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="validation_fraction must lie between 0 and 1"):
            from_tensors((IMAGES, LABELS), (IMAGES, LABELS), validation_fraction=fraction)
