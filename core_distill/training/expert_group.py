"""Experts in training: one at a time on a CPU, several at once on a card, which small networks leave idle one by one."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from core_distill.engine import can_stack, parameters_of
from core_distill.randomness import derive_generator
from core_distill.training import StackedSgd
from core_distill.training.expert_settings import ExpertTraining
from core_distill.types import Batch, NetworkFactory, SiameseAugment

if TYPE_CHECKING:
    from core_distill.data import ClassSampler

AT_ONCE = 10
"""Experts that are trained at once where they can be stacked."""

TRAJECTORY_BYTES = 8 << 30
"""What their parameters after all epochs may take on the host; of larger networks fewer are trained at once, at least one."""


def groups_of(numbers: Sequence[int], example: nn.Module, training: ExpertTraining) -> list[Sequence[int]]:
    """The numbers of experts, in groups that are trained at once; `example` is a network like theirs, where they will be."""
    size = 1
    if can_stack([example] * 2):
        bytes_of_one = (training.training_epochs + 1) * sum(value.nbytes for value in parameters_of(example))
        size = max(1, min(AT_ONCE, TRAJECTORY_BYTES // bytes_of_one))
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


class ExpertGroup:
    """The experts with these numbers, from before their first epoch on.

    Each has its own part of the seed for its start, its order and its augmentation, so that the group changes none of its
    random numbers; how its sums round follows the group.
    """

    def __init__(
        self,
        real: "ClassSampler",
        new_network: NetworkFactory,
        training: ExpertTraining,
        numbers: Sequence[int],
        *,
        augment: SiameseAugment,
    ) -> None:
        self._real, self._training, self._augment = real, training, augment
        self._generators = [
            derive_generator(training.training_seed, "expert", number, device=real.device) for number in numbers
        ]
        networks = [new_network(generator) for generator in self._generators]
        self._names = [name for name, _ in networks[0].named_parameters()]
        self._sgd = StackedSgd(
            networks,
            learning_rate=training.training_rate,
            momentum=training.training_momentum,
            direction=training.direction,
        )

    def parameters(self) -> dict[str, Tensor]:
        """As they are now, `(i, *parameter)` by name, a row an expert; training changes them in place."""
        return dict(zip(self._names, self._sgd.parameters, strict=True))

    def train_epoch(self) -> None:
        """A shuffled pass of each expert over the images of an epoch."""
        for chosen in zip(*map(self._order, self._generators), strict=True):
            self._sgd.step([self._seen(*pair) for pair in zip(chosen, self._generators, strict=True)])

    def _order(self, generator: Generator) -> list[Tensor]:
        """Positions of the mini-batches of an epoch."""
        order = torch.randperm(len(self._real), generator=generator, device=generator.device)
        seen = order[: self._training.training_images or len(order)]
        return list(seen.split(self._training.training_batch_size))

    def _seen(self, chosen: Tensor, generator: Generator) -> Batch:
        """A mini-batch as an expert sees it."""
        batch = self._real.take(chosen)
        return Batch(self._augment.per_image(batch.images, generator), batch.labels)


def train_group(
    real: "ClassSampler",
    new_network: NetworkFactory,
    training: ExpertTraining,
    numbers: Sequence[int],
    *,
    augment: SiameseAugment,
    watch: Callable[[int], None],
) -> list[dict[str, Tensor]]:
    """Parameters `(epochs + 1, *parameter)` by name, on the CPU, of each of the experts with these numbers, trained at once.

    `watch` hears of the epochs that are done, those of all experts counted.
    """
    group = ExpertGroup(real, new_network, training, numbers, augment=augment)
    epochs = training.training_epochs
    kept = {
        name: value.new_empty(len(numbers), epochs + 1, *value.shape[1:], device="cpu")
        for name, value in group.parameters().items()
    }
    for epoch in range(epochs + 1):
        if epoch:
            group.train_epoch()
        for name, value in group.parameters().items():
            kept[name][:, epoch].copy_(value)
        if epoch:
            watch(epoch * len(numbers))
    return [{name: value[row] for name, value in kept.items()} for row in range(len(numbers))]
