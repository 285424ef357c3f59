"""Images that stay on disk: the same batches as from memory, bit for bit, and no copy of the file in memory."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core_distill import data
from core_distill.data import ClassSampler, MappedImages, from_tensors, load_data, whiten
from core_distill.randomness import derive_generator
from core_distill.recipes import condense

KINDS = [np.uint8, np.float32]


def values(count, *, kind=np.uint8, shape=(3, 4, 5), seed=0):
    drawn = np.random.default_rng(seed).integers(0, 256, (count, *shape))
    return drawn.astype(kind) if kind == np.uint8 else (drawn / 255).astype(kind)


def on_disk(folder, array, name="images.npy"):
    np.save(folder / name, array)
    return np.load(folder / name, mmap_mode="r")


def both(folder, *, count=40, classes=3, kind=np.uint8):
    """The same examples, unsorted, in memory and on disk."""
    array = values(count, kind=kind)
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, classes, count))
    settings = {"num_classes": classes, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    mapped = ClassSampler(MappedImages(on_disk(folder, array)), labels, **settings)
    return ClassSampler(torch.from_numpy(array), labels, **settings), mapped


def assert_same(first, second):
    assert first.images.dtype == second.images.dtype
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_batches_as_from_memory(tmp_path, kind):
    memory, mapped = both(tmp_path, kind=kind)
    for size in (1, 7, 30):
        assert_same(*(sampler.by_class(size, derive_generator(size)) for sampler in (memory, mapped)))
        assert_same(*(sampler.batch(size, derive_generator(size)) for sampler in (memory, mapped)))
    for first, second in zip(memory.all_chunks(16), mapped.all_chunks(16), strict=True):
        assert_same(first, second)
    for indices in (torch.tensor(3), torch.tensor([[0, 39], [39, 5]]), torch.tensor([], dtype=torch.int64)):
        assert_same(memory.take(indices), mapped.take(indices))
    assert torch.equal(memory.images, mapped.images)
    assert memory.digest() == mapped.digest()
    assert memory.image_shape == mapped.image_shape


def test_subsets_stay_on_disk_and_agree(tmp_path):
    memory, mapped = both(tmp_path)
    chosen = torch.tensor([9, 2, 2, 31])
    first, second = memory.subset(chosen), mapped.subset(chosen)
    assert isinstance(second._images, MappedImages)
    assert_same(first.take(torch.arange(4)), second.take(torch.arange(4)))
    assert first.digest() == second.digest()


@settings(deadline=None)
@given(st.lists(st.integers(0, 19), max_size=30), st.integers(0, 99))
def test_any_rows_in_any_order(tmp_path_factory, rows, seed):
    array = values(20, seed=seed)
    mapped = MappedImages(on_disk(tmp_path_factory.mktemp("mapped"), array)).select(torch.arange(19, -1, -1))
    assert torch.equal(mapped[torch.tensor(rows, dtype=torch.int64)], torch.from_numpy(array[::-1][rows].copy()))
    assert torch.equal(torch.cat(list(mapped.chunks())), mapped[:])


def test_a_distillation_gives_the_same_bits(tmp_path, tiny_recipe):
    array, labels = values(36, shape=(1, 8, 8)), torch.arange(36) % 3
    settings = {"num_classes": 3, "mean": [0.5], "std": [0.25]}
    mapped = ClassSampler(MappedImages(on_disk(tmp_path, array)), labels, **settings)
    memory = ClassSampler(torch.from_numpy(array), labels, **settings)
    first, second = (condense(sampler, tiny_recipe, seed=0).state_dict() for sampler in (memory, mapped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def write_folder(folder, *, kind=np.uint8, **changes):
    arrays = {
        "train_images": values(40, kind=kind),
        "train_labels": np.arange(40) % 4,
        "test_images": values(8, kind=kind, seed=1),
        "test_labels": (np.arange(8) % 4).astype(np.uint8),
    }
    for name, array in (arrays | changes).items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    return {
        name: torch.from_numpy(array.astype(np.int64) if "labels" in name else array) for name, array in arrays.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_arrays(tmp_path, kind):
    arrays = write_folder(tmp_path, kind=kind)
    splits = load_data(tmp_path)
    train, test = ((arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test"))
    expected = from_tensors(train, test)
    assert splits.name == tmp_path.name
    assert splits.class_names == ("0", "1", "2", "3")
    assert splits.digest == expected.digest
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(splits, part), getattr(expected, part)
        assert isinstance(ours._images, MappedImages)
        assert ours.digest() == theirs.digest()


def test_arrays_on_disk_are_not_whitened(tmp_path):
    write_folder(tmp_path, kind=KINDS[0])
    with pytest.raises(ValueError, match=r"stays on disk, and whitened images are kept in memory"):
        whiten(load_data(tmp_path))


@pytest.fixture
def images_read(monkeypatch):
    """How many images were read from disk, as a list of one number."""
    count, get = [0], MappedImages.__getitem__

    def counted(self, chosen):
        found = get(self, chosen)
        count[0] += found.numel() // self.shape[1:].numel()
        return found

    monkeypatch.setattr(MappedImages, "__getitem__", counted)
    return count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", [{}, {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}])
def test_everything_is_read_once_and_once_more_for_the_name_of_train(kind, given, tmp_path, images_read):
    write_folder(tmp_path, kind=kind)
    train = load_data(tmp_path, **given).train
    assert images_read == [48]
    name = train.digest()
    assert images_read == [48 + len(train)]
    assert train.to("meta").digest() == train.digest() == name
    train.subset(torch.arange(5))
    assert images_read == [48 + len(train)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_read_in_pieces_gives_the_same_statistics(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(data.mapped, "_CHUNK_BYTES", 7 * 60)
    images = values(40, kind=kind)
    images[::3] //= 4  # so that it matters which of them are train
    arrays = write_folder(tmp_path, kind=kind, train_images=images)
    test = arrays["test_images"], arrays["test_labels"]
    expected = from_tensors((torch.from_numpy(images), arrays["train_labels"]), test)
    found = load_data(tmp_path)
    torch.testing.assert_close((found.train.mean, found.train.std), (expected.train.mean, expected.train.std))
    assert found.digest == expected.digest


def test_infinite_values_are_found_by_a_sampler_of_its_own(tmp_path):
    images = values(6, kind=np.float32)
    images[3, 1, 2, 2] = np.inf
    mapped = MappedImages(on_disk(tmp_path, images))
    for part in (mapped, mapped.select(torch.tensor([0, 3])), mapped.to("cpu")):
        with pytest.raises(ValueError, match="holds NaN or infinite values; 1 of"):
            ClassSampler(part, torch.zeros(len(part), dtype=torch.int64), num_classes=1, mean=[0.0] * 3, std=[1.0] * 3)
    ClassSampler(
        mapped.select(torch.arange(3)), torch.zeros(3, dtype=torch.int64), num_classes=1, mean=[0.0] * 3, std=[1.0] * 3
    )
    assert not mapped.known_finite, "of a part nothing follows for the whole"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_labels": None}, r"lacks test_labels\.npy: all of train_images\.npy, .* are needed"),
        ({"train_images": values(40).astype(np.float64)}, r"train_images\.npy must hold uint8 or float32, got float64"),
        ({"train_images": values(40).astype(">f4")}, "got >f4"),
        ({"train_images": np.zeros(40, np.uint8)}, r"shape \(n, c, \.\.\.\) with at least one of each, got \(40,\)"),
        ({"test_images": np.zeros((0, 3, 4, 5), np.uint8)}, r"got \(0, 3, 4, 5\)"),
        ({"train_images": np.zeros((40, 4, 5, 3), np.uint8)}, r"colours last: save it as \(n, c, h, w\)"),
        (
            {"train_labels": np.arange(39) % 4},
            r"train_labels\.npy must hold 40 whole numbers, .*got int64 of shape \(39,\)",
        ),
        ({"train_labels": np.arange(40) % 4 / 1}, "got float64"),
        ({"train_labels": np.arange(40) % 4 - 1}, r"train set: labels must lie in 0\.\.3 \(4 classes\), got -1\.\.2"),
        ({"train_labels": np.arange(40) % 2 * 2}, r"no examples of class 1 \(1\), 3 \(3\)"),
        ({"test_images": np.zeros((8, 1, 4, 5), np.uint8)}, "train and test images must be alike"),
        ({"train_labels": np.array([None] * 40)}, r"train_labels\.npy is not a whole \.npy file of numbers"),
    ],
)
def test_unfit_arrays_are_named(tmp_path, changes, message):
    write_folder(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_data(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 60, 128, 1000])
def test_a_file_cut_short_is_named(tmp_path, keep):
    write_folder(tmp_path)
    path = tmp_path / "train_images.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"train_images\.npy is not a whole \.npy file .*: write it again"):
        load_data(tmp_path)


def test_values_that_are_not_finite_are_named(tmp_path):
    images = values(40, kind=np.float32)
    images[7, 0, 0, 0] = np.nan
    write_folder(tmp_path, kind=np.float32, train_images=images)
    with pytest.raises(ValueError, match="train set: image 7 holds NaN or infinite values; 1 of 40 do"):
        load_data(tmp_path)


LARGE = """
import resource, sys
import numpy as np, torch
from core_distill.data import load_data
from core_distill.randomness import derive_generator
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + {allowed}, used + {allowed}))
if sys.argv[2] == "whole":
    np.load(sys.argv[1] + "/train_images.npy")
splits = load_data(sys.argv[1], mean=[0.5] * 3, std=[0.5] * 3)
generator = derive_generator(0)
for _ in range(3):
    batch = splits.train.by_class(8, generator)
chunk = next(splits.train.all_chunks(64))
print(len(splits.train), tuple(batch.images.shape), tuple(chunk.images.shape), splits.train.digest())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_data_larger_than_the_memory_allowed(tmp_path):
    """Half a gigabyte of images where 150 MB may be allocated; reading it whole fails there."""
    write_folder(tmp_path, test_images=np.zeros((8, 3, 64, 64), np.uint8), train_labels=np.arange(43_000) % 4)
    shape = (43_000, 3, 64, 64)
    np.lib.format.open_memmap(tmp_path / "train_images.npy", mode="w+", dtype=np.uint8, shape=shape).flush()
    program = LARGE.format(allowed=150 << 20)

    def run(how):
        return subprocess.run(
            [sys.executable, "-c", program, tmp_path, how], capture_output=True, text=True, timeout=120, check=False
        )

    done, refused = run("mapped"), run("whole")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("38700 (4, 8, 3, 64, 64) (64, 3, 64, 64)")
    assert "MemoryError" in refused.stderr
