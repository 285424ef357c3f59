"""IDC: match gradients along a network's training on real images, not on the synthetic ones."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from core_distill.augment import Dsa, no_augment
from core_distill.augment.cutmix import cutmix
from core_distill.augment.successive import Successive
from core_distill.matching import gradient_distance
from core_distill.matching.gradient_distances import convolution_squared
from core_distill.matching.gradients import Distance
from core_distill.methods.numbers import check_from_one, check_from_zero, check_momenta
from core_distill.synthetic import SyntheticSet
from core_distill.training import StackedSgd
from core_distill.types import Batch, NetworkFactory, RealData


@dataclass(frozen=True, kw_only=True)
class RealTrainedMatching:
    """IDC (arXiv 2205.14959, Algorithm 1): between its losses a network trains on a few augmented, mixed real images.

    The released code clamps pixels to [0, 1] for each network; here they are free.

    Args:
        augment: all its operations are applied to real and synthetic images alike, one after the other.
        batch_size: real images a class and step.
        synthetic_batch_size: synthetic images a class and step, at most: where there are more, that many at random.
        classes_at_once: classes that share a loss and an update; 1 as in the paper, 0 is all, which a step takes together.
            Pixels feel either alike but for the momentum of their optimizer.
        outer_steps: how often each class is matched in a network's life.
        network_images: real images of all classes that the network trains on after that, once.
        network_batch_size: images of a batch that the network trains on.
        network_operations: how each of those images is augmented, by all of these.
        cutmix_share: probability that a batch that the network trains on is mixed (CutMix).
        network_rate, network_momentum, network_weight_decay: of the network's training on real images, which goes on through its
            life.

    Raises `ValueError` for values out of range, and while it runs what `distance` raises.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: Dsa = no_augment
    distance: Distance = convolution_squared
    batch_size: int = 64
    synthetic_batch_size: int = 128
    classes_at_once: int = 0
    outer_steps: int = 100
    network_images: int = 500
    network_batch_size: int = 64
    network_operations: tuple[str, ...] = ("color", "crop")
    network_rate: float = 0.01
    network_momentum: float = 0.9
    network_weight_decay: float = 5e-4
    cutmix_share: float = 0.5

    def __post_init__(self) -> None:
        check_from_one(
            self, "batch_size", "synthetic_batch_size", "outer_steps", "network_images", "network_batch_size"
        )
        check_from_zero(self, "network_rate", "network_weight_decay")
        check_momenta(self, "network_momentum")

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network's life: `outer_steps` losses, or as many for every group of `classes_at_once`."""
        network = self.new_network(generator)
        sgd = StackedSgd(
            [network],
            learning_rate=self.network_rate,
            momentum=self.network_momentum,
            weight_decay=self.network_weight_decay,
        )
        for step in range(self.outer_steps):
            real = self.real.by_class(self.batch_size, generator)
            size = self.classes_at_once or len(real.images)
            for start in range(0, len(real.images), size):
                rows = slice(start, start + size)
                part = Batch(real.images[rows], real.labels[rows])
                yield self._loss(network, part, synthetic.by_class(generator, rows=rows), generator)
            if step + 1 < self.outer_steps:
                self._train(network, sgd, generator)

    def _loss(self, network: nn.Module, real: Batch, synthetic: Batch, generator: Generator) -> Tensor:
        """The distance of both batches' gradients, under the same changes."""
        count = synthetic.images.shape[1]
        if count > self.synthetic_batch_size:
            chosen = torch.randperm(count, generator=generator, device=generator.device)[: self.synthetic_batch_size]
            synthetic = Batch(synthetic.images[:, chosen], synthetic.labels[:, chosen])
        seen_real, seen = Successive(self.augment.operations)(real, synthetic, generator)
        return gradient_distance(network, seen_real, seen, distance=self.distance)

    def _train(self, network: nn.Module, sgd: StackedSgd, generator: Generator) -> None:
        """A pass of the network over fresh real images."""
        images, labels, _ = self.real.batch(self.network_images, generator)
        changes = Successive(self.network_operations)
        for seen, named in zip(*(part.split(self.network_batch_size) for part in (images, labels)), strict=True):
            batch = Batch(changes.per_image(seen, generator), named)
            sgd.step([cutmix(batch, self.real.num_classes, generator, share=self.cutmix_share)])
        sgd.write_to([network])
