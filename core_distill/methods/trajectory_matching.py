"""MTT and TESLA: training on the synthetic set must lead where training on the real data led an expert."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching.trajectories import trajectory_distance
from core_distill.matching.unrolling import train_unrolled
from core_distill.methods.numbers import check_from_one
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class TrajectoryMatching:
    """MTT (arXiv 2203.11932, Algorithm 1); TESLA (arXiv 2211.10586) when `truncated`.

    MTT's own code keeps the graph of all inner steps; ours walks them backwards and gets the same gradient with the
    memory of one. TESLA's code also leaves out how each step depends on the images of earlier ones (and loses the factor
    2 of the square, which is here).

    Args:
        real: not looked at, the experts have seen it; that is why no private signal can stand between.
        new_network: the experts' architecture.
        experts: what is matched.
        inner_steps: of training on the synthetic set, with its step size, in each loss.
        expert_epochs: of the experts, that these steps are to be worth.
        max_start: a stretch starts after one of the first `max_start` epochs, 0 (before training) among them.
        batch_size: synthetic images in a step; steps go through one random order of the set after the other. 0 is all.
        truncated: leave out how each step depends on the images of earlier ones (TESLA).
        memory_limit: bytes that the parameters kept for `inner_steps` may take; 0 sets none.

    Raises `ValueError` for values out of range, and for a stretch beyond the experts' last epoch.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = True
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    experts: ExpertTrajectories
    augment: SiameseAugment = no_augment
    inner_steps: int = 20
    expert_epochs: int = 2
    max_start: int = 10
    batch_size: int = 0
    truncated: bool = False
    memory_limit: int = 0

    def __post_init__(self) -> None:
        check_from_one(self, "inner_steps")
        if self.batch_size < 0 or self.memory_limit < 0:
            raise ValueError(
                f"batch_size and memory_limit must be at least 0, got {self.batch_size} and {self.memory_limit}"
            )
        self.experts.check_span(self.max_start, self.expert_epochs)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One stretch of one expert, one loss."""
        yield self.stretch_loss(synthetic, generator, max_start=self.max_start)

    def stretch_loss(
        self, synthetic: SyntheticSet, generator: Generator, *, max_start: int, min_start: int = 0
    ) -> Tensor:
        """The loss of one stretch of one expert that starts after a random epoch from `min_start` to below `max_start`."""
        network = self.new_network(generator)  # its structure alone
        start, target = self.experts.draw(generator, max_start, self.expert_epochs, min_start=min_start)
        batch = synthetic.batch(generator=generator)
        ends = train_unrolled(
            network,
            start,
            batch.images,
            batch.labels,
            self._batches(len(batch.images), generator),
            steps=self.inner_steps,
            step_size=synthetic.step_size,
            truncated=self.truncated,
            memory_limit=self.memory_limit or None,
        )
        return trajectory_distance(ends, start, target)

    def _batches(self, count: int, generator: Generator) -> Callable[[int, Tensor, Tensor], Batch]:
        """The batch of each inner step, the same whenever it is asked for."""
        size = min(self.batch_size or count, count)
        a_pass = math.ceil(count / size)
        device, seed = generator.device, generator.initial_seed()
        orders = [
            torch.randperm(count, generator=generator, device=device)
            for _ in range(math.ceil(self.inner_steps / a_pass))
        ]

        def batch_at(step: int, images: Tensor, labels: Tensor) -> Batch:
            if size < count:
                chosen = orders[step // a_pass][step % a_pass * size :][:size]
                images, labels = images[chosen], labels[chosen]
            seen = self.augment.per_image(images, derive_generator(seed, "inner step", step, device=device))
            return Batch(seen, labels)

        return batch_at
