"""A loss and a method of one's own, in one file that touches nothing of the library: they combine with all that is there.

The loss compares covariances of features, class by class, beside their means; the method trains each network a little
between its losses. Both then run on plain pixels and on images that hold four small ones each. The command line takes the
recipe too:

    stillroom distill digits --recipe examples/own_method.py:moments_recipe
"""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.data import load_data
from core_distill.engine import features
from core_distill.evaluation import Protocol, evaluate, select_baselines
from core_distill.recipes import Recipe, Schedule, condense, dm
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


def moments(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean `(k, d)` and covariance `(k, d, d)` of the features of each class."""
    found = features(network, batch.images.flatten(0, 1)).unflatten(0, batch.images.shape[:2])
    centred = found - found.mean(1, keepdim=True)
    return found.mean(1), centred.mT @ centred / found.shape[1]


def moment_distance(network: nn.Module, real: Batch, synthetic: Batch, *, covariance_weight: float) -> Tensor:
    """Squared distances of means and covariances, summed over classes."""
    with torch.no_grad():
        mean, covariance = moments(network, real)
    own_mean, own_covariance = moments(network, synthetic)
    return (own_mean - mean).square().sum() + covariance_weight * (own_covariance - covariance).square().sum()


@dataclass(frozen=True, kw_only=True)
class MomentMatching:
    """Every plain field is a value that `with_values` knows. Batches are grouped by class, `(k, n, *shape)`."""

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 64
    losses: int = 3
    covariance_weight: float = 0.01

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network's life."""
        network = self.new_network(generator)
        for _ in range(self.losses):
            real = self.real.by_class(self.batch_size, generator)
            seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
            yield moment_distance(network, seen_real, seen, covariance_weight=self.covariance_weight)
            fit(network, synthetic.batch(generator=generator), epochs=2, learning_rate=0.01, generator=generator)


def moments_recipe(*, images_per_class: int, data: str = "", schedule: Schedule = "cpu") -> Recipe:
    """What every recipe is: a function of a budget, of the data's name and of how long there is."""
    return dataclasses.replace(
        dm(images_per_class=images_per_class, data=data, schedule=schedule),
        name="moments",
        paper="none yet",
        source="DM's schedule where nothing else is said",
        method=functools.partial(MomentMatching),
    )


def main() -> None:
    data = load_data("digits")
    recipe = moments_recipe(images_per_class=2, data="digits").with_values({"steps": 30, "width": 16, "losses": 2})
    protocol = Protocol(network=recipe.network, num_networks=2, epochs=60)
    for images in ("pixels", "multi-formation"):
        synthetic = condense(data.train, recipe.with_values({"images": images}), seed=0)
        print(
            f"moments on {images}: {evaluate(synthetic.batch(), data.validation, protocol, seed=0)} validation accuracy"
        )
    (chosen,) = select_baselines(
        data.train, budget_bytes=2 * 10 * 65, network=recipe.network, seed=0, names=("random",)
    )
    print(f"random real images: {evaluate(chosen.batch, data.validation, protocol, seed=0)}")


if __name__ == "__main__":
    main()
