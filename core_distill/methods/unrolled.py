"""DD and SLDD: what is learned is whatever makes a short training run end with a low loss on real images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.engine import mean_loss, parameters_of
from core_distill.matching.unrolling import train_unrolled
from core_distill.methods.numbers import check_from_one, check_momenta
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class UnrolledTraining:
    """DD (arXiv 1811.10959, Algorithm 1), differentiated through the whole run; SLDD (arXiv 1910.02551) with soft labels.

    The slots of each class are dealt in order to `inner_steps` groups, whose sizes differ by one at most; a pass trains on
    one group after the other. Step sizes are the set's: one number, or one for each of the
    `inner_steps * inner_epochs` steps.

    Args:
        batch_size: real images that the end of a run is judged on.
        inner_steps: gradient steps a pass; 1 trains on the whole set at once.
        inner_epochs: passes over the set in a run.
        inner_momentum: of the gradient steps; the paper has none.
        network_seed: 0 starts each run at a fresh network; any other number always at the one that it stands for (the
            paper's fixed initialisation).

    `episode` raises `ValueError` for more groups than images a class, fewer than one pass, and a network with batch
    statistics.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = True
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 1024
    inner_steps: int = 1
    inner_epochs: int = 10
    inner_momentum: float = 0.0
    network_seed: int = 0

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One run, one loss."""
        self._check(synthetic)
        network = self._network(generator)
        own = synthetic.by_class(generator)
        slots, views = synthetic.images_per_class, synthetic.views

        def group(step: int, images: Tensor, labels: Tensor) -> Batch:
            first = step % self.inner_steps
            start, stop = (views * (end * slots // self.inner_steps) for end in (first, first + 1))
            return Batch(images[:, start:stop].flatten(0, 1), labels[:, start:stop].flatten(0, 1))

        trained = train_unrolled(
            network,
            parameters_of(network),
            own.images,
            own.labels,
            group,
            steps=self.inner_steps * self.inner_epochs,
            step_size=synthetic.step_size,
            momentum=self.inner_momentum,
        )
        real = self.real.batch(self.batch_size, generator)
        yield mean_loss(network, trained, Batch(self.augment.per_image(real.images, generator), real.labels))

    def _network(self, generator: Generator) -> nn.Module:
        if self.network_seed:
            generator = derive_generator(self.network_seed, "initial", device=generator.device)
        return self.new_network(generator)

    def _check(self, synthetic: SyntheticSet) -> None:
        if not 1 <= self.inner_steps <= synthetic.images_per_class:
            raise ValueError(
                f"inner_steps must lie in 1..{synthetic.images_per_class}, since each step trains on a part of the "
                f"{synthetic.images_per_class} slots a class, got {self.inner_steps}; inner_epochs repeats them"
            )
        check_from_one(self, "inner_epochs")
        check_momenta(self, "inner_momentum")
