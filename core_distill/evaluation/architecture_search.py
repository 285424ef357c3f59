"""Whether a set ranks architectures as real data does: what DC-BENCH asks of a set for architecture search.

DC-BENCH searches NAS-Bench-201 with DARTS-PT; here it is a small space of convolutional networks, each trained twice.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from core_distill.data import DataSplits
from core_distill.engine import Engine
from core_distill.evaluation.kept import KeepSeveral
from core_distill.evaluation.scores import Score
from core_distill.evaluation.train_from_scratch import Protocol, evaluate_on_each
from core_distill.networks import Architecture, network_factory
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from core_distill.types import Batch


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Each architecture's score on test images after training on the set and after training on real data, by name.

    `validation` are scores of the former networks on validation images, by which an architecture is chosen.
    """

    synthetic: Mapping[str, Score]
    real: Mapping[str, Score]
    validation: Mapping[str, Score]

    @property
    def correlation(self) -> float:
        """Spearman's, of the mean accuracies."""
        return rank_correlation(
            [score.mean for score in self.synthetic.values()], [self.real[name].mean for name in self.synthetic]
        )

    @property
    def chosen(self) -> str:
        """The architecture that does best on validation images after training on the set."""
        return max(self.validation, key=lambda name: self.validation[name].mean)

    def as_json(self) -> dict[str, object]:
        best = max(score.mean for score in self.real.values())
        return {
            "rank_correlation": self.correlation,
            "chosen": self.chosen,
            "real_accuracy_of_chosen": self.real[self.chosen].mean,
            "best_real_accuracy": best,
        }


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation, from -1 to 1, equal values sharing a rank; 0 where all of one side are equal.

    Raises `ValueError` for sequences of different lengths, or of less than two.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"a correlation needs two numbers or more on both sides, got {len(first)} and {len(second)}")
    ranks = _ranks(first), _ranks(second)
    if any(len(set(side)) == 1 for side in ranks):
        return 0.0
    return statistics.correlation(*ranks)


def _ranks(values: Sequence[float]) -> list[float]:
    """How many are below, and half of those that are equal."""
    return [sum((other < value) + (other == value) / 2 for other in values) for value in values]


def rank_architectures(
    synthetic: SyntheticSet,
    data: DataSplits,
    protocol: Protocol,
    *,
    space: Mapping[str, Architecture],
    real_epochs: int,
    seed: int,
    keep: KeepSeveral = lambda name, measure: measure(),
    engine: Engine | None = None,
) -> Ranked:
    """Train each network of `space` on the set by `protocol`, and on all of `data.train` for `real_epochs`.

    Both are tested on `data.test`, and the set's networks on `data.validation` too, on the set's device. All real images are
    in memory at once. `keep` may remember scores, each as soon as it is there. Raises `ValueError` for a space of less than
    two, and before anything is trained for a network that does not take such images.
    """
    if len(space) < 2:
        raise ValueError(f"architectures are ranked among at least two, got {len(space)}")
    for network in space.values():
        network_factory(network, data.train.image_shape, data.train.num_classes)(derive_generator(seed))
    own = Batch(*(part.detach() for part in synthetic.batch()[:2]))
    train = data.train.to(synthetic.device)
    everything = train.take(torch.arange(len(train), device=train.device))
    synthetic_scores, real_scores = {}, {}
    for name, network in space.items():
        on_set, on_real = (replace(protocol, network=network, epochs=count) for count in (protocol.epochs, real_epochs))
        synthetic_scores[name] = keep(
            f"{name}, synthetic",
            lambda by=on_set: evaluate_on_each(  # type: ignore[misc]
                own, {"test": data.test, "validation": data.validation}, by, seed=seed, engine=engine
            ),
        )
        real_scores[name] = keep(
            f"{name}, real",
            lambda by=on_real: evaluate_on_each(  # type: ignore[misc]
                everything, {"test": data.test}, by, seed=seed, engine=engine
            ),
        )
    return Ranked(
        synthetic={name: scores["test"] for name, scores in synthetic_scores.items()},
        real={name: scores["test"] for name, scores in real_scores.items()},
        validation={name: scores["validation"] for name, scores in synthetic_scores.items()},
    )
