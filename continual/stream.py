"""A data set as a class-incremental stream of Avalanche."""

import torch
from avalanche.benchmarks import NCScenario, nc_benchmark
from torch import Tensor
from torch.utils.data import Dataset

from core_distill.data import ClassSampler, DataSplits
from core_distill.randomness import derive_generator


class SamplerDataset(Dataset[tuple[Tensor, int]]):
    """The examples of a `ClassSampler` as (normalised image, class number) pairs, with the `targets` Avalanche asks for."""

    def __init__(self, sampler: ClassSampler) -> None:
        self._sampler = sampler
        self.targets: list[int] = sampler.labels.tolist()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._sampler.take(torch.tensor(index)).images, self.targets[index]


def class_stream(data: DataSplits, *, num_experiences: int, seed: int) -> NCScenario:
    """Train and test streams of `num_experiences`, each with as many classes as the others, drawn in an order from `seed`.

    Examples are (normalised image, label, 0): every strategy of Avalanche can read tuples with a task label, some can read
    no others. Validation is left out. Raises `ValueError` where the classes cannot be dealt out evenly.
    """
    num_classes = data.train.num_classes
    if num_experiences < 1 or num_classes % num_experiences:
        allowed = [count for count in range(1, num_classes + 1) if num_classes % count == 0]
        raise ValueError(
            f"{num_classes} classes cannot be dealt out evenly to {num_experiences} experiences; use one of {allowed}"
        )
    order = torch.randperm(num_classes, generator=derive_generator(seed, "class order"))
    return nc_benchmark(
        SamplerDataset(data.train.to("cpu")),
        SamplerDataset(data.test.to("cpu")),
        num_experiences,
        task_labels=False,
        fixed_class_order=order.tolist(),
    )
