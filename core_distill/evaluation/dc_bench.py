"""DC-BENCH: one set under several augmentations and on several architectures (Cui et al., arXiv 2207.09639)."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from core_distill.augment import Dsa, dsa_for, no_augment
from core_distill.data import DataSplits
from core_distill.engine import Engine
from core_distill.evaluation.kept import KeepSeveral
from core_distill.evaluation.scores import Score
from core_distill.evaluation.train_from_scratch import Augmentation, Protocol, evaluate_on_each
from core_distill.networks import Architecture
from core_distill.synthetic import SyntheticSet
from core_distill.types import Batch

_COLOURS = (1, 3)
"""Channels that pictures have."""


@dataclass(frozen=True, kw_only=True)
class Benchmarked:
    """Scores on test and on validation images, by architecture and augmentation; the first architecture is the set's own.

    The best augmentation of an architecture is chosen on validation images; DC-BENCH chooses on the test images.
    """

    test: Mapping[str, Mapping[str, Score]]
    validation: Mapping[str, Mapping[str, Score]]

    def best(self, architecture: str) -> str:
        """The augmentation that does best on an architecture."""
        scores = self.validation[architecture]
        return max(scores, key=lambda augmentation: scores[augmentation].mean)

    @property
    def best_over_augmentations(self) -> float:
        """The set's own architecture under its best augmentation."""
        own = next(iter(self.test))
        return self.test[own][self.best(own)].mean

    @property
    def mean_over_augmentations(self) -> float:
        """The set's own architecture, the mean over the augmentations."""
        return statistics.fmean(score.mean for score in next(iter(self.test.values())).values())

    @property
    def mean_transfer(self) -> float | None:
        """The mean over the other architectures, each under its best augmentation; None where there is no other."""
        others = [self.test[name][self.best(name)].mean for name in list(self.test)[1:]]
        return statistics.fmean(others) if others else None

    def as_json(self) -> dict[str, object]:
        return {
            "best_over_augmentations": self.best_over_augmentations,
            "mean_over_augmentations": self.mean_over_augmentations,
            "mean_transfer": self.mean_transfer,
            "best_augmentations": {name: self.best(name) for name in self.test},
        }


def augmentations_for(synthetic: SyntheticSet, data: str) -> dict[str, Augmentation]:
    """DC-BENCH's augmentations for a set of images made from the data set `data`, by name; its own for ImageNet is not here.

    What is no image has none, and images of other than 1 or 3 channels no policies of pixels.
    """
    from core_distill.data.policies import autoaugment, randaugment  # torchvision takes a second to start

    if synthetic.batch().images.dim() != 4:
        return {"none": no_augment}
    mean, std = synthetic.mean, synthetic.std
    found: dict[str, Augmentation] = {"none": no_augment, "dsa": dsa_for(data)}
    if len(mean) not in _COLOURS:
        return found
    return found | {"autoaugment": autoaugment(mean, std), "randaugment": randaugment(mean, std)}


def are_pixels(data: DataSplits) -> bool:
    """Whether the images are pixels from 0 to 1, or of 8 bits, as policies need: not whitened, and of no other range."""
    if data.whitening or data.validation.dtype == torch.uint8:
        return data.whitening is None
    images = data.validation.images
    return bool(images.min() >= 0 and images.max() <= 1)


def measure_dc_bench(
    synthetic: SyntheticSet,
    data: DataSplits,
    protocol: Protocol,
    *,
    architectures: Mapping[str, Architecture],
    augmentations: Mapping[str, Augmentation],
    seed: int,
    keep: KeepSeveral = lambda name, measure: measure(),
    engine: Engine | None = None,
) -> Benchmarked:
    """Train every architecture under every augmentation on a set, on its device, otherwise by `protocol`.

    The released code trains 1,000 epochs with augmentation and 300 without; here it is the protocol's number for all.
    `keep` may remember scores, each as soon as it is there. Raises `ValueError` for no architecture or augmentation, and
    where the images differ in shape or policies of pixels meet whitened ones, or ones of another range.
    """
    if not architectures or not augmentations:
        raise ValueError("DC-BENCH needs at least one architecture and one augmentation")
    of_pixels = [name for name, augment in augmentations.items() if not isinstance(augment, Dsa)]
    if of_pixels and not are_pixels(data):
        how = "is whitened" if data.whitening else "has others"
        raise ValueError(f"{', '.join(of_pixels)} changes pixels from 0 to 1, and {data.name} {how}: leave them out")
    train = Batch(*(part.detach() for part in synthetic.batch()[:2]))
    real = {"test": data.test, "validation": data.validation}
    found: dict[str, dict[str, dict[str, Score]]] = {part: {name: {} for name in architectures} for part in real}
    for name, network in architectures.items():
        for augmentation, augment in augmentations.items():
            own = replace(protocol, network=network, augment=augment)
            scores = keep(
                f"{name}, {augmentation}",
                lambda own=own: evaluate_on_each(train, real, own, seed=seed, engine=engine),  # type: ignore[misc]
            )
            for part in real:
                found[part][name][augmentation] = scores[part]
    return Benchmarked(**found)
