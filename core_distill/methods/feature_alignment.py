"""CAFE: align the features of every layer, and train the network for as long as it helps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.data import ClassSampler
from core_distill.matching.layer_features import feature_alignment, mean_layers
from core_distill.methods.numbers import check_from_one, check_from_zero
from core_distill.methods.query_accuracy import query_accuracy, spread
from core_distill.synthetic import SyntheticSet
from core_distill.training import fit
from core_distill.types import NetworkFactory, RealData, SiameseAugment, Signal


@dataclass(frozen=True, kw_only=True)
class FeatureAlignment:
    """CAFE (arXiv 2203.01531), with its dynamic bi-level optimisation.

    Between two losses the network trains on the set, until its accuracy on real images has changed by more than
    `inner_spread` over the last epochs; a network is given up when the accuracies at its last losses differ by less than
    `outer_spread`. Each of these accuracies is one number that the host waits for. The paper's loops have no bound of their
    own; `max_losses` and `max_epochs` are ours.

    The released code adds up accuracies without starting again at 0, weighs discrimination by a sum over the batch, and
    trains nothing by the cross-entropy of real images that it also adds; here each accuracy is its own, the weight is of a
    mean over a class, and that term is left out.

    Args:
        queries: the real images that accuracies are measured on, drawn at random whatever `real` chooses for the losses.
        batch_size: real images a class and loss.
        layer_weights: of the squared distances between mean layers; of the last layers, see `layer_distance`. The released
            code has (0.1, 0.1, 1, 1) and counts the last layer once more.
        discrimination_weight: of the cross-entropy of real features under the synthetic centres, a mean over the images of
            a class summed over classes; the released code's 0.01 of a sum over 256 images a class is 2.56 of it.
        signal: real images reach the distance through it; the discrimination looks at them one by one.
        query_size: real images a class of each accuracy.
        window: accuracies that a spread is taken over.
        outer_spread: a network ends when its last accuracies differ by less, as a fraction of 1.
        inner_spread: its training between two losses ends when they differ by more.
        max_losses: of one network.
        max_epochs: of its training between two losses.
        learning_rate: of plain SGD, by which the network trains on the synthetic set.

    A bound of no more than the window leaves its spread nothing to end, and then nothing is measured for it.

    Raises `ValueError` for a window below 2, bounds below 1 and other values below 0.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False
    learns_labels: ClassVar[bool] = False

    real: RealData
    queries: ClassSampler
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    signal: Signal = mean_layers
    batch_size: int = 256
    layer_weights: tuple[float, ...] = (0.1, 0.1, 1.0, 2.0)
    discrimination_weight: float = 2.56
    query_size: int = 128
    window: int = 10
    outer_spread: float = 0.04
    inner_spread: float = 0.03
    max_losses: int = 50
    max_epochs: int = 50
    learning_rate: float = 0.01

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"window must be at least 2, the fewest accuracies that differ, got {self.window}")
        check_from_one(self, "max_losses", "max_epochs")
        check_from_zero(self, "discrimination_weight", "outer_spread", "inner_spread", "learning_rate")

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One network's life, of at most `max_losses` losses."""
        network = self.new_network(generator)
        accuracies: list[float] = []
        for number in range(1, self.max_losses + 1):
            real = self.real.by_class(self.batch_size, generator)
            seen_real, seen = self.augment(real, synthetic.by_class(generator), generator)
            yield feature_alignment(
                network,
                seen_real,
                seen,
                layer_weights=self.layer_weights,
                discrimination_weight=self.discrimination_weight,
                signal=self.signal,
            )
            if number == self.max_losses:
                return
            range_of_accuracies = self._spread(accuracies, self.max_losses, network, generator)
            if range_of_accuracies is not None and range_of_accuracies < self.outer_spread:
                return
            self._train(network, synthetic, generator)

    def _train(self, network: nn.Module, synthetic: SyntheticSet, generator: Generator) -> None:
        """Epochs on the set, until the accuracy on real images has moved."""
        batch = synthetic.batch(generator=generator)
        accuracies: list[float] = []
        for epoch in range(1, self.max_epochs + 1):
            fit(
                network,
                batch,
                epochs=1,
                learning_rate=self.learning_rate,
                augment=self.augment.per_image,
                generator=generator,
            )
            if epoch == self.max_epochs:
                return
            range_of_accuracies = self._spread(accuracies, self.max_epochs, network, generator)
            if range_of_accuracies is not None and range_of_accuracies > self.inner_spread:
                return

    def _spread(self, accuracies: list[float], most: int, network: nn.Module, generator: Generator) -> float | None:
        """Of the last accuracies and a new one; None before there are enough, and where a loop of `most` ends before."""
        if self.window >= most:
            return None
        accuracies.append(query_accuracy(network, self.queries, self.query_size, generator))
        return spread(accuracies, self.window)
