"""`ClassSampler`: what goes in comes out, sorted, normalised, and drawn as often as promised."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.types import RealData


def numbered(labels, *, num_classes=None):
    """A sampler whose images are single numbers: their own position in `labels`."""
    labels = torch.tensor(labels)
    images = torch.arange(float(len(labels))).unsqueeze(1)
    return ClassSampler(images, labels, num_classes=num_classes or int(labels.max()) + 1, mean=[0.0], std=[1.0])


label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=40)


@settings(deadline=None)
@given(label_lists)
def test_sorting_is_stable_and_keeps_pairs(labels):
    sampler = numbered(labels, num_classes=6)
    expected = sorted(range(len(labels)), key=lambda position: labels[position])
    assert sampler.images.flatten().tolist() == expected
    assert sampler.labels.tolist() == sorted(labels)
    assert sampler.classes.tolist() == sorted(set(labels))
    assert sampler.class_sizes.tolist() == [labels.count(number) for number in sorted(set(labels))]
    assert len(sampler) == len(labels)
    for number in range(6):
        assert sampler.labels[sampler.of_class(number)].tolist() == [number] * labels.count(number)


@settings(deadline=None)
@given(label_lists, st.integers(1, 50), st.integers(0, 1000))
def test_by_class_counts_and_labels(labels, size, seed):
    sampler = numbered(labels)
    batch = sampler.by_class(size, derive_generator(seed))
    assert batch.images.shape == (len(set(labels)), size, 1)
    for row, number in enumerate(sorted(set(labels))):
        assert batch.labels[row].tolist() == [number] * size
        drawn = [int(value) for value in batch.images[row].flatten()]
        own = [position for position, label in enumerate(labels) if label == number]
        counts = [drawn.count(position) for position in own]
        assert sum(counts) == size
        assert set(counts) <= {size // len(own), -(-size // len(own))}


def test_a_small_class_is_shuffled_again_and_again():
    drawn = numbered([0] * 5).by_class(15, derive_generator(3)).images.flatten().int().tolist()
    rounds = [drawn[:5], drawn[5:10], drawn[10:]]
    assert all(sorted(one) == [0, 1, 2, 3, 4] for one in rounds)
    assert len({tuple(one) for one in rounds}) == 3


@pytest.mark.parametrize("size", [2, 7])
def test_by_class_is_uniform(size):
    sampler, generator = numbered([0] * 6 + [1] * 3), derive_generator(1)
    counts = torch.zeros(9)
    for _ in range(3000):
        drawn = sampler.by_class(size, generator).images.flatten().long()
        counts += drawn.bincount(minlength=9)
    # Every count is floor or ceil of its mean, with a chance of at most 2/3: 5 standard deviations are under 0.044.
    expected = torch.tensor([size / 6] * 6 + [size / 3] * 3)
    assert (counts / 3000 - expected).abs().max() < 0.044


@settings(deadline=None)
@given(label_lists, st.integers(1, 50), st.integers(0, 1000))
def test_batch_is_without_replacement(labels, size, seed):
    batch = numbered(labels).batch(size, derive_generator(seed))
    drawn = batch.images.flatten().int().tolist()
    assert len(drawn) == len(set(drawn)) == min(size, len(labels))
    assert batch.labels.tolist() == [labels[position] for position in drawn]


def test_the_same_seed_draws_the_same():
    sampler = numbered([0, 1, 0, 1, 1, 0, 2, 2])
    for draw in (sampler.by_class, sampler.batch):
        first, again, other = (draw(3, derive_generator(seed)).images for seed in (5, 5, 6))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)


def test_drawing_leaves_the_global_generator_alone():
    sampler, before = numbered([0, 0, 1]), torch.get_rng_state()
    sampler.by_class(2, derive_generator(0))
    sampler.batch(2, derive_generator(0))
    assert torch.equal(before, torch.get_rng_state())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_uint8_is_normalised_per_channel(channels, height, width, seed):
    generator = derive_generator(seed)
    images = torch.randint(0, 256, (5, channels, height, width), generator=generator, dtype=torch.uint8)
    mean, std = torch.rand(channels, generator=generator), torch.rand(channels, generator=generator) + 0.1
    sampler = ClassSampler(images, torch.zeros(5, dtype=torch.int64), num_classes=1, mean=mean, std=std)
    assert sampler.images.dtype == torch.uint8
    assert sampler.image_shape == (channels, height, width)
    expected = (images / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    taken = sampler.take(torch.arange(5)).images
    assert taken.dtype == torch.float32
    assert torch.allclose(taken, expected, atol=1e-6)
    grouped = sampler.by_class(5, derive_generator(seed)).images[0]
    assert torch.equal(grouped.flatten(1).sum(1).sort().values, taken.flatten(1).sum(1).sort().values)


@pytest.mark.parametrize("shape", [(3,), (3, 7), (3, 4, 5), (3, 2, 2, 2)])
def test_floats_of_any_shape(shape):
    images = torch.rand(4, *shape, generator=derive_generator(0), dtype=torch.float64)
    kept = images.clone()
    sampler = ClassSampler(images, torch.tensor([0, 0, 1, 1]), num_classes=2, mean=[1.0, 2.0, 3.0], std=[0.5, 2.0, 4.0])
    batch = sampler.take(torch.tensor([[0, 1], [2, 3]]))
    view = (3, *[1] * (len(shape) - 1))
    expected = (kept - torch.tensor([1.0, 2.0, 3.0]).view(view)) / torch.tensor([0.5, 2.0, 4.0]).view(view)
    assert batch.images.shape == (2, 2, *shape)
    assert batch.images.dtype == torch.float64
    assert torch.allclose(batch.images.flatten(0, 1), expected)
    assert batch.labels.tolist() == [[0, 0], [1, 1]]
    assert torch.equal(sampler.images, kept)


def test_the_sampler_owns_its_images():
    images = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    sampler = ClassSampler(images, torch.tensor([0, 1]), num_classes=2, mean=[0.0], std=[1.0])
    images += 9
    assert not sampler.images.any()


@settings(deadline=None)
@given(label_lists, st.integers(1, 9))
def test_all_chunks_hold_everything_once(labels, size):
    chunks = list(numbered(labels).all_chunks(size))
    assert all(len(chunk.labels) == size for chunk in chunks[:-1])
    seen = torch.cat([chunk.images for chunk in chunks]).flatten().int().tolist()
    assert sorted(seen) == list(range(len(labels)))
    assert torch.cat([chunk.labels for chunk in chunks]).tolist() == [labels[position] for position in seen]


def test_subset_keeps_the_task():
    sampler = numbered([0, 1, 2, 0, 1, 2], num_classes=5)
    part = sampler.subset(torch.tensor([5, 1, 4]))
    assert part.images.flatten().tolist() == [3.0, 5.0, 2.0]
    assert part.classes.tolist() == [0, 2]
    assert part.num_classes == 5
    assert part.by_class(2, derive_generator(0)).labels.tolist() == [[0, 0], [2, 2]]
    with pytest.raises(ValueError, match="at least one of each"):
        sampler.subset(torch.tensor([], dtype=torch.int64))


def test_to_the_same_device_is_free():
    sampler: RealData = numbered([0, 1])
    assert isinstance(sampler, ClassSampler)
    assert sampler.to("cpu") is sampler


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_another_device_hands_out_the_same_examples():
    sampler = numbered([0, 1, 1, 2])
    moved = sampler.to("cuda")
    batch = moved.by_class(3, derive_generator(0))
    assert batch.images.device.type == "cuda"
    assert torch.equal(batch.images.cpu(), sampler.by_class(3, derive_generator(0)).images)
    moved.by_class(3, derive_generator(0, device="cuda"))


def test_require_all_classes_names_the_absent():
    numbered([0, 1, 2]).require_all_classes(["a", "b", "c"])
    with pytest.raises(ValueError, match=r"no examples of class 1 \(coat\), 3 \(bag\)"):
        numbered([0, 2], num_classes=4).require_all_classes(["hat", "coat", "shoe", "bag"])


GREY = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": GREY[:2]}, r"labels need the shape \(2,\), one an image, got \(3,\)"),
        ({"labels": LABELS.unsqueeze(0)}, r"got \(1, 3\)"),
        ({"labels": torch.tensor([0, 1, 2])}, r"labels must lie in 0\.\.1 \(2 classes\), got 0\.\.2"),
        ({"labels": torch.tensor([0, -1, 1])}, r"got -1\.\.1"),
        ({"labels": torch.tensor([0.0, 1.0, 1.0])}, "whole numbers, got torch.float32"),
        ({"labels": torch.tensor([True, False, True])}, "whole numbers, got torch.bool"),
        ({"images": GREY.int()}, "uint8, float32 or float64, got torch.int32"),
        ({"images": GREY[:0], "labels": LABELS[:0]}, "at least one of each"),
        ({"images": GREY.flatten()}, r"shape \(n, c, \.\.\.\)"),
        (
            {"images": torch.tensor([[0.0], [torch.nan], [torch.inf]])},
            "image 1 holds NaN or infinite values; 2 of 3 do",
        ),
        ({"mean": [0.0, 0.0]}, r"mean needs one number for each of 1 channels, got \(2,\)"),
        ({"std": 1.0}, r"std needs one number for each of 1 channels, got \(\)"),
        ({"std": [0.0]}, r"std must be positive, got \[0\.0\]"),
        ({"mean": [float("nan")]}, "mean must be finite"),
        ({"std": [float("inf")]}, "std must be finite"),
    ],
)
def test_unfit_input_is_refused(change, message):
    values = {"images": GREY, "labels": LABELS, "num_classes": 2, "mean": [0.0], "std": [1.0]} | change
    images, labels = values.pop("images"), values.pop("labels")
    with pytest.raises(ValueError, match=message):
        ClassSampler(images, labels, **values)


def test_unfit_sizes_and_classes_are_refused():
    sampler = numbered([0, 1])
    for draw in (
        lambda: sampler.by_class(0, derive_generator(0)),
        lambda: sampler.batch(0, derive_generator(0)),
        lambda: list(sampler.all_chunks(0)),
    ):
        with pytest.raises(ValueError, match="at least 1 example, got size 0"):
            draw()
    for number in (-1, 2):
        with pytest.raises(ValueError, match=rf"class {number} does not exist, classes are 0\.\.1"):
            sampler.of_class(number)
