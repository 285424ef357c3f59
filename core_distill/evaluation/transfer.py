"""Transfer: how a set made with one network does on the other architectures."""

import dataclasses
from collections.abc import Mapping

from core_distill.data import ClassSampler
from core_distill.evaluation.scores import Score
from core_distill.evaluation.train_from_scratch import Protocol, evaluate
from core_distill.networks import NETWORKS, Architecture
from core_distill.types import Batch


def transfer(
    train: Batch,
    test: ClassSampler,
    protocol: Protocol,
    *,
    seed: int,
    architectures: Mapping[str, Architecture] = NETWORKS,
) -> dict[str, Score]:
    """The protocol's score on each architecture, by name."""
    return {
        name: evaluate(train, test, dataclasses.replace(protocol, network=network), seed=seed)
        for name, network in architectures.items()
    }
