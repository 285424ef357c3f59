"""Bayesian pseudocoresets: the parameters that are likely after seeing the set are to be those after seeing the real data."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.matching.bayesian import Divergence, Posteriors, forward_kl
from core_distill.matching.unrolling import train_unrolled
from core_distill.methods.numbers import check_from_one, check_from_zero
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from core_distill.training.experts import ExpertTrajectories
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class BayesianPseudocoreset:
    """BPC (Kim et al., arXiv 2210.06205): by forward KL, reverse KL or Wasserstein distance, as `divergence` says.

    An expert's stretch stands for the posterior of the real data, training on the set from its start, by the set's step
    size, for that of the set. The released code augments anew for every draw; here one draw of the siamese augmentation
    serves a whole loss.

    Args:
        new_network: the experts' architecture.
        divergence: `forward_kl`, `reverse_kl` or `wasserstein`; the last alone moves a learned step size.
        samples, noise: how many draws an expectation takes, and their standard deviation around a centre; `wasserstein`
            takes none.
        inner_steps: of training on the whole set, each augmented anew.
        expert_epochs, max_start: the stretch begins after one of the first `max_start` epochs, 0 among them.
        batch_size: real images of all classes; `reverse_kl` alone looks at them.

    Raises `ValueError` for a stretch beyond the experts' last epoch; `episode` for less than one step, too few samples,
    and networks with batch statistics.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = True
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    experts: ExpertTrajectories
    augment: SiameseAugment = no_augment
    divergence: Divergence = forward_kl
    samples: int = 30
    noise: float = 0.01
    inner_steps: int = 30
    expert_epochs: int = 1
    max_start: int = 20
    batch_size: int = 1000

    def __post_init__(self) -> None:
        check_from_zero(self, "noise")
        check_from_one(self, "inner_steps")
        self.experts.check_span(self.max_start, self.expert_epochs)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One stretch of one expert, one loss."""
        network = self.new_network(generator)  # its structure alone
        start, expert = self.experts.draw(generator, self.max_start, self.expert_epochs)
        own = synthetic.batch(generator=generator)
        device, seed = generator.device, generator.initial_seed()

        def augmented(step: int, images: Tensor, labels: Tensor) -> Batch:
            chance = derive_generator(seed, "inner step", step, device=device)
            return Batch(self.augment.per_image(images, chance), labels)

        coreset = train_unrolled(
            network, start, own.images, own.labels, augmented, steps=self.inner_steps, step_size=synthetic.step_size
        )
        real, seen = self.augment(self.real.batch(self.batch_size, generator), own, generator)
        posteriors = Posteriors(network, real, seen, start, coreset, expert)
        yield self.divergence(posteriors, samples=self.samples, scale=self.noise, generator=generator)
