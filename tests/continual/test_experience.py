import pytest
import torch
from avalanche.benchmarks import nc_benchmark
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from continual.experience import Layout, as_avalanche_dataset, read_experience


class Grey(Dataset):
    """Twelve pictures of two classes, each of one grey value."""

    targets = (0, 1) * 6

    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if self.kind == "uint8":
            return torch.full((1, 4, 4), 10 * index, dtype=torch.uint8), self.targets[index]
        return Image.new("L", (4, 4), 10 * index), self.targets[index]


def to_float(image):
    if isinstance(image, Image.Image):
        image = torch.tensor(list(image.tobytes()), dtype=torch.uint8).view(1, 4, 4)
    return image / 255


def shifted(image):
    return to_float(image) + 100


@pytest.mark.parametrize("kind", ["uint8", "picture"])
def test_images_come_through_the_eval_transforms_and_not_the_train_ones(kind):
    data = Grey(kind)
    stream = nc_benchmark(
        data, data, 1, task_labels=False, shuffle=False, train_transform=shifted, eval_transform=to_float
    )
    examples = read_experience(stream.train_stream[0])
    assert examples.images.dtype == torch.float32
    assert sorted(examples.images[:, 0, 0, 0].tolist()) == pytest.approx([10 * index / 255 for index in range(12)])
    assert examples.labels.bincount().tolist() == [6, 6]


@pytest.mark.parametrize(("kind", "named"), [("uint8", "torch.uint8"), ("picture", "Image")])
def test_images_that_no_network_could_read_are_refused(kind, named):
    data = Grey(kind)
    with pytest.raises(ValueError, match=f"{named}; give the stream an eval transform"):
        read_experience(nc_benchmark(data, data, 1, task_labels=False).train_stream[0])


def test_reading_leaves_the_global_generator_alone(stream):
    before = torch.get_rng_state()
    read_experience(stream.train_stream[0])
    assert torch.equal(before, torch.get_rng_state())


def test_labels_are_those_in_the_tuples_and_tasks_are_kept(random_pairs, with_task_labels):
    # `class_ids_from_zero` renames classes per experience.
    stream = nc_benchmark(
        random_pairs(), random_pairs(), 3, task_labels=True, seed=0, class_ids_from_zero_in_each_exp=True
    )
    for number, experience in enumerate(stream.train_stream):
        examples = read_experience(experience)
        assert sorted(examples.labels.unique().tolist()) == [0, 1]
        assert examples.tasks.unique().tolist() == [number]
        assert examples.layout == Layout(task_labels=True)


@pytest.mark.parametrize("tensor_labels", [False, True])
def test_the_written_data_set_looks_like_the_one_that_was_read(new_stream, random_pairs, tensor_labels):
    experience = new_stream(random_pairs(tensor_labels=tensor_labels)).train_stream[0]
    images, labels, tasks, layout = read_experience(experience)
    written = as_avalanche_dataset(images, labels, tasks, layout)
    read, real = written[3], experience.dataset[3]
    assert len(read) == len(real)
    assert all(type(mine) is type(theirs) for mine, theirs in zip(read, real, strict=True))
    assert torch.equal(read[0], real[0])
    assert list(read[1:]) == list(real[1:])
    assert list(written.targets) == list(experience.dataset.targets)
    # One mini-batch of both, in either order, as ReplayDataLoader makes it.
    for parts in ([written, experience.dataset], [experience.dataset, written]):
        joined = torch.utils.data.ConcatDataset(parts)
        batch = next(iter(DataLoader(joined, batch_size=len(joined), collate_fn=experience.dataset.collate_fn)))
        assert len(batch) == len(real)


def test_tuples_of_other_lengths_are_refused(stream):
    from avalanche.benchmarks.utils import DataAttribute

    dataset = stream.train_stream[0].dataset
    for name in ("one", "two"):
        numbers = DataAttribute([0] * len(dataset), name, use_in_getitem=True)
        dataset = dataset.update_data_attribute(name, numbers)

    class Experience:
        pass

    experience = Experience()
    experience.dataset = dataset
    with pytest.raises(ValueError, match=r"\(image, label\) or \(image, label, task\), got tuples of [45]"):
        read_experience(experience)
