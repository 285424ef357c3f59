"""DD-Ranking: how much of an accuracy comes from the images, and not from soft labels or from augmentation.

Formulas of the documentation (Li et al., arXiv 2505.13300) on fractions; the released code puts percentages into the same
exponentials, and tunes on the test set.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from core_distill.augment import no_augment
from core_distill.data import DataSplits
from core_distill.engine import Engine, chosen, logits, running_on
from core_distill.evaluation.baselines import select_baselines
from core_distill.evaluation.kept import Keep
from core_distill.evaluation.scores import Score
from core_distill.evaluation.train_from_scratch import Protocol, evaluate_on_each, trained_networks
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from core_distill.types import Batch


def label_robust_score(
    *, real_hard: float, synthetic_hard: float, synthetic_own: float, random_own: float, weight: float = 0.5
) -> float:
    """The label-robust score, from 0 to 1: `weight` of the gain over random images, the rest on what real data is ahead.

    Accuracies, fractions: of all real data and of the set with hard labels; of the set, and of random real images at equal
    bytes, in the way the set is meant to be used (its own labels). 0.269 where nothing is gained and nothing lost. Raises
    `ValueError` for other numbers, such as percentages.
    """
    _check_fractions(real_hard, synthetic_hard, synthetic_own, random_own, weight)
    return _normalised(weight * (synthetic_own - random_own) - (1 - weight) * (real_hard - synthetic_hard))


def augmentation_robust_score(
    *,
    synthetic_augmented: float,
    random_augmented: float,
    synthetic_plain: float,
    random_plain: float,
    weight: float = 0.5,
) -> float:
    """The augmentation-robust score, from 0 to 1: the gain over random images with augmentation, by `weight`, and without.

    Accuracies, fractions, in the way the set is meant to be used. Raises `ValueError` for other numbers.
    """
    _check_fractions(synthetic_augmented, random_augmented, synthetic_plain, random_plain, weight)
    gains = synthetic_augmented - random_augmented, synthetic_plain - random_plain
    return _normalised(weight * gains[0] + (1 - weight) * gains[1])


def _normalised(gain: float) -> float:
    """From -1..1 to 0..1, steeper above."""
    return (math.exp(gain) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def _check_fractions(*numbers: float) -> None:
    wrong = [number for number in numbers if not 0 <= number <= 1]
    if wrong:
        raise ValueError(
            f"accuracies and weights are fractions from 0 to 1, got {wrong[0]:g}; divide percentages by 100"
        )


@dataclass(frozen=True, kw_only=True)
class DDRanking:
    """Both scores, a number for each round, and the accuracies that they are made of, by name.

    `random_images` real images at random, in all, stand beside the set.
    """

    label_robust: Score
    augmentation_robust: Score
    accuracies: dict[str, Score]
    random_images: int

    def as_json(self) -> dict[str, object]:
        return {
            "label_robust_score": self.label_robust.as_json(),
            "augmentation_robust_score": self.augmentation_robust.as_json(),
            "accuracies": {name: score.as_json() for name, score in self.accuracies.items()},
            "random_images": self.random_images,
        }


@dataclass(frozen=True, kw_only=True)
class RankingPlan:
    """How the accuracies of DD-Ranking are taken.

    Args:
        protocol: with augmentation, on `num_networks` networks, one a round.
        learning_rates: those tried for every set, real, synthetic or random, with the better one by validation images; none
            keeps the protocol's.
        real_epochs: of training on all real images, which are in memory at once.
        real_accuracy: of training on all real images where that is known; 0 measures it.
        weight: of the gain over random images, and of augmentation.

    Raises `ValueError` for a protocol without augmentation and numbers out of range.
    """

    protocol: Protocol
    learning_rates: tuple[float, ...] = ()
    real_epochs: int = 10
    real_accuracy: float = 0.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not self.protocol.augment.operations:
            raise ValueError("DD-Ranking compares training with and without augmentation: give the protocol one")
        if self.real_epochs < 1:
            raise ValueError(f"real_epochs must be at least 1, got {self.real_epochs}")
        _check_fractions(self.real_accuracy, self.weight)

    def describe(self) -> dict[str, object]:
        """JSON values that say how the scores came about."""
        return {
            "protocol": self.protocol.describe(),
            "learning_rates": list(self.learning_rates),
            "real_epochs": self.real_epochs,
            "real_accuracy": self.real_accuracy,
            "weight": self.weight,
        }


def measure_dd_ranking(
    synthetic: SyntheticSet,
    data: DataSplits,
    plan: RankingPlan,
    *,
    budget_bytes: int,
    seed: int,
    keep: Keep = lambda name, measure: measure(),
    engine: Engine | None = None,
) -> DDRanking:
    """Measure a set's scores on the test images of `data`, on the set's device.

    Random images are those of the baseline, as many as `budget_bytes` pay for. Where the set has probabilities as labels,
    they get some too and pay for them: what a network says that was trained on all real images, by the plan. `keep` may
    remember accuracies, each as soon as it is there. Raises `ValueError` where the images differ in shape.

    One random selection serves all rounds, so their spread is of networks alone. Every training has the protocol's rate, and
    all but those named so its augmentation, hard labels too; a learned step size is not used.
    """
    data = data.to(str(synthetic.device))
    own = Batch(*(part.detach() for part in synthetic.batch()[:2]))
    soft = own.labels.is_floating_point()
    paid = _without_probabilities(budget_bytes, data) if soft else budget_bytes
    (selection,) = select_baselines(
        data.train, budget_bytes=paid, network=plan.protocol.network, seed=seed, names=("random",)
    )
    on_real = replace(plan.protocol, epochs=plan.real_epochs)
    plain = replace(plan.protocol, augment=no_augment)

    @functools.cache
    def random() -> Batch:
        return _taught(selection.batch, data, on_real, seed, engine) if soft else selection.batch

    def measured(name: str, train: Callable[[], Batch], protocol: Protocol) -> Score:
        return keep(name, lambda: _tuned(train(), data, protocol, plan.learning_rates, seed, engine))

    found = {
        "synthetic": measured("synthetic", lambda: own, plan.protocol),
        "random": measured("random", random, plan.protocol),
        "synthetic, no augmentation": measured("synthetic, no augmentation", lambda: own, plain),
        "random, no augmentation": measured("random, no augmentation", random, plain),
    }
    numbers = synthetic.classes.repeat_interleave(len(own.labels) // len(synthetic.classes))
    hard = own._replace(labels=numbers)
    name = "synthetic, hard labels"
    found[name] = measured(name, lambda: hard, plan.protocol) if soft else found["synthetic"]
    known = Score((plan.real_accuracy,) * plan.protocol.num_networks)
    found["real"] = known if plan.real_accuracy else measured("real", lambda: _everything(data), on_real)
    return _ranked(found, plan.weight, len(selection.batch.labels))


def _without_probabilities(budget_bytes: int, data: DataSplits) -> int:
    """What is left of the budget where each image's label costs 4 bytes a class, as if it cost the 1 of a class number."""
    values = math.prod(data.train.image_shape)
    return budget_bytes // (values + 4 * data.train.num_classes) * (values + 1)


def _everything(data: DataSplits) -> Batch:
    return data.train.take(torch.arange(len(data.train), device=data.train.device))


def _taught(batch: Batch, data: DataSplits, protocol: Protocol, seed: int, engine: Engine | None) -> Batch:
    """The images, labelled by the probabilities of a network that was trained on all real ones."""
    real, alone = data.train, replace(protocol, num_networks=1)
    own = int(torch.randint(2**31, (1,), generator=derive_generator(seed, "teacher")))  # not where a student starts
    with running_on(chosen(engine)):
        (network,) = trained_networks(
            _everything(data), alone, image_shape=real.image_shape, num_classes=real.num_classes, seed=own
        )
        return batch._replace(labels=logits(network.eval(), batch.images).softmax(-1))


def _tuned(
    train: Batch, data: DataSplits, protocol: Protocol, rates: Sequence[float], seed: int, engine: Engine | None
) -> Score:
    """On the test images, at the learning rate that is best on those for validation."""
    tests = {"test": data.test} | ({"validation": data.validation} if rates else {})
    found = [
        evaluate_on_each(train, tests, replace(protocol, learning_rate=rate), seed=seed, engine=engine)
        for rate in rates or (protocol.learning_rate,)
    ]
    best = max(found, key=lambda scores: scores["validation"].mean) if rates else found[0]
    return best["test"]


def _ranked(found: dict[str, Score], weight: float, random_images: int) -> DDRanking:
    """The scores of each round."""
    rounds = [
        {name: score.accuracies[number] for name, score in found.items()}
        for number in range(len(found["synthetic"].accuracies))
    ]
    return DDRanking(
        label_robust=Score(
            tuple(
                label_robust_score(
                    real_hard=one["real"],
                    synthetic_hard=one["synthetic, hard labels"],
                    synthetic_own=one["synthetic"],
                    random_own=one["random"],
                    weight=weight,
                )
                for one in rounds
            )
        ),
        augmentation_robust=Score(
            tuple(
                augmentation_robust_score(
                    synthetic_augmented=one["synthetic"],
                    random_augmented=one["random"],
                    synthetic_plain=one["synthetic, no augmentation"],
                    random_plain=one["random, no augmentation"],
                    weight=weight,
                )
                for one in rounds
            )
        ),
        accuracies=found,
        random_images=random_images,
    )
