"""LD: real images stay as they are and only their labels are learned, along the training of a network that is followed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from core_distill.augment import no_augment
from core_distill.engine import features, logits, loss_gradient, mean_loss, parameters_of
from core_distill.matching.batching import refuse_batch_statistics
from core_distill.matching.heads import ridge_head, with_constant
from core_distill.matching.unrolling import train_unrolled
from core_distill.methods.numbers import check_from_one, check_from_zero
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from core_distill.training.followed import FollowedNetwork
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment

_CALIBRATION = 10.0
"""How much faster than the network the ridge head's scale learns: Adam's steps are as long for any unit."""


@dataclass(frozen=True, kw_only=True)
class LabelDistillation:
    """LD by second-order gradients (arXiv 2006.08572, Algorithm 1): labels are good whose gradient step lowers the real loss.

    The network then trains on the labels by Adam, and is replaced when its error stops improving (`FollowedNetwork`); it
    lives in the method, so a run of its own needs a method of its own. The inner step has the set's step size.

    Args:
        batch_size: real images a step.
        base_batch_size: slots of the set a step, with the labels that learn; all, where there are fewer.
        network_rate: of Adam, by which the followed network trains.
        patience: steps without a lower error after which it is replaced, see `FollowedNetwork`.

    Raises `ValueError` for values out of range; `episode` also for networks with batch statistics.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = True
    draws_by_class: ClassVar[bool] = False
    learns_images: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 1024
    base_batch_size: int = 50
    network_rate: float = 0.001
    patience: int = 50
    _followed: FollowedNetwork = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_one(self, "base_batch_size")
        check_from_zero(self, "network_rate")
        followed = FollowedNetwork(self.new_network, learning_rate=self.network_rate, patience=self.patience)
        object.__setattr__(self, "_followed", followed)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One step of labels and network, one loss."""
        network = self._followed.current(generator)
        base = synthetic.batch(self.base_batch_size, generator)
        images = base.images.detach()
        trained = train_unrolled(
            network,
            parameters_of(network),
            images,
            base.labels,
            lambda step, images, labels: Batch(images, labels),
            steps=1,
            step_size=synthetic.step_size,
        )
        real = self.real.batch(self.batch_size, generator)
        seen = Batch(self.augment.per_image(real.images, generator), real.labels)
        yield mean_loss(network, trained, seen)
        self._followed.judge(self._error(trained, seen))
        with torch.no_grad():
            labels = base.labels.detach()
            self._followed.step(loss_gradient(network, parameters_of(network), Batch(images, labels)))

    def state_dict(self) -> dict[str, Any]:
        """The network, which outlives the episodes."""
        return self._followed.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved network."""
        self._followed.load_state_dict(state_dict)

    @torch.no_grad()
    def _error(self, parameters: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """The share of a batch that a network with these parameters names wrongly."""
        network = self.new_network(derive_generator(0, "structure", device=batch.images.device))
        for parameter, value in zip(network.parameters(), parameters, strict=True):
            parameter.copy_(value)
        return _wrong(logits(network, batch.images), batch.labels)


@dataclass(frozen=True, kw_only=True)
class RidgeLabelDistillation:
    """LD by ridge regression (arXiv 2006.08572, Algorithm 2): labels are good whose ridge head classifies real images.

    The head is a moving average of the closed-form heads of base batches on the features of the followed network, which
    trains with that head, scaled by a learned number, as its last layer.

    Args:
        batch_size, base_batch_size: real images, and slots with learned labels, of a step.
        network_rate: of Adam, by which the followed network trains.
        patience: steps without a lower error after which it is replaced, see `FollowedNetwork`.
        regularisation: of the ridge regression, see `ridge_head`.
        head_rate: the part of the newest head in the average.

    Raises `ValueError` for values out of range; `episode` also for networks
    with batch statistics or without a linear last layer `classifier`.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = False
    draws_by_class: ClassVar[bool] = False
    learns_images: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 1024
    base_batch_size: int = 50
    network_rate: float = 0.001
    patience: int = 50
    regularisation: float = 1.0
    head_rate: float = 0.01
    _followed: FollowedNetwork = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_one(self, "base_batch_size")
        check_from_zero(self, "network_rate")
        if not 0 < self.head_rate <= 1:
            raise ValueError(f"head_rate must lie in (0, 1], got {self.head_rate}")
        followed = FollowedNetwork(self._start, learning_rate=self.network_rate, patience=self.patience)
        object.__setattr__(self, "_followed", followed)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One step of labels, head and network, one loss."""
        headed = self._followed.current(generator)
        assert isinstance(headed, _Headed)
        images, labels = self._base(synthetic, generator)[:2]
        real = self.real.batch(self.batch_size, generator)
        with torch.no_grad():
            known = features(headed.network, images)
            asked = with_constant(features(headed.network, self.augment.per_image(real.images, generator)))
        local = ridge_head(known, labels, regularisation=self.regularisation)
        head = (1 - self.head_rate) * headed.head + self.head_rate * local
        said = asked @ (headed.scale().detach() * head)
        yield F.cross_entropy(said, real.labels)
        self._followed.judge(_wrong(said.detach(), real.labels))
        with torch.no_grad():
            headed.head.copy_(head)
            self._followed.step(headed.gradients(self._base(synthetic, generator)))

    def _base(self, synthetic: SyntheticSet, generator: Generator) -> Batch:
        """The base images of an episode, the same at every call, with their labels as they are now."""
        chance = derive_generator(generator.initial_seed(), "base", device=generator.device)
        images, labels = synthetic.batch(self.base_batch_size, chance)[:2]
        if not labels.is_floating_point():
            labels = F.one_hot(labels, self.real.num_classes).float()
        return Batch(images.detach(), labels)

    def state_dict(self) -> dict[str, Any]:
        """The network with its head, which outlive the episodes."""
        return self._followed.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved network."""
        self._followed.load_state_dict(state_dict)

    def _start(self, generator: Generator) -> nn.Module:
        network = self.new_network(generator)
        refuse_batch_statistics(network)
        return _Headed(network)


class _Headed(nn.Module):
    """A network, the head `(d + 1, c)` that takes its last layer's place, and the calibration of the head's scale."""

    head: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        last = _last_layer(network)
        self.calibration = nn.Parameter(last.weight.new_zeros(()))
        self.network = network
        self.register_buffer("head", last.weight.new_zeros(last.in_features + 1, last.out_features))

    def scale(self) -> Tensor:
        return 1 + _CALIBRATION * self.calibration

    @torch.no_grad()
    def gradients(self, batch: Batch) -> tuple[Tensor, ...]:
        """Of the mean loss with the scaled head as last layer: for the calibration, then for the network's parameters."""
        scaled, last = self.scale() * self.head, _last_layer(self.network)
        last.weight.copy_(scaled[:-1].mT)
        last.bias.copy_(scaled[-1])
        found = loss_gradient(self.network, parameters_of(self.network), batch)
        named = dict(zip((id(value) for value in self.network.parameters()), found, strict=True))
        to_head = torch.cat((named[id(last.weight)].mT, named[id(last.bias)][None]))
        return _CALIBRATION * (to_head * self.head).sum(), *found


def _last_layer(network: nn.Module) -> nn.Linear:
    last = getattr(network, "classifier", None)
    if not isinstance(last, nn.Linear):
        raise ValueError(
            "label distillation by ridge regression replaces the last layer, a linear one called classifier, which "
            f"{type(network).__name__} has not: take a network such as convnet that has one"
        )
    return last


def _wrong(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(-1) != labels).float().mean()
