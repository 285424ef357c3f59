"""The standard protocol: fresh networks trained on the small set alone, then tested on real images they never saw."""

import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from core_distill.augment import all_operations
from core_distill.data import ClassSampler
from core_distill.engine import Engine, Tell, can_stack, chosen, ignore, logits, running_on, training_session
from core_distill.evaluation.scores import Score
from core_distill.networks import Architecture, ConvNet, network_factory
from core_distill.partials import fixed, wrapped
from core_distill.randomness import derive_generator
from core_distill.training import fit_many
from core_distill.types import Augment, Batch

_CHUNK = 1000
"""Test images that are normalised at once."""


class Augmentation(typing.Protocol):
    """How images are changed while networks train on them, such as `Dsa`; without `operations`, not at all."""

    @property
    def operations(self) -> tuple[str, ...]: ...

    def per_image(self, images: Tensor, generator: Generator) -> Tensor:
        """`images (n, *shape)`, each with a draw of its own."""
        ...


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a set is evaluated (the released code of DC, DSA and DM): SGD, learning rate divided by ten at half time.

    Accuracy is that of the last epoch; nothing is chosen on what it is measured on. The reference trains 1,000 epochs with
    augmentation and 300 without.
    """

    network: Architecture = ConvNet
    num_networks: int = 3
    epochs: int = 300
    augment: Augmentation = all_operations
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.num_networks < 1 or self.epochs < 1:
            raise ValueError(f"networks and epochs must be at least 1, got {self.num_networks} and {self.epochs}")

    def describe(self) -> dict[str, object]:
        """JSON values that say how a score came about."""
        return {
            "network": wrapped(self.network).__name__,
            "network_options": {
                name: getattr(value, "__name__", str(value)) for name, value in fixed(self.network).items()
            },
            "num_networks": self.num_networks,
            "epochs": self.epochs,
            "augment": list(self.augment.operations),
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "batch_size": self.batch_size,
            "accuracy_of": "last epoch",
        }


Watch = Callable[[int], None]
"""Called with the number of networks that are done."""


def train_from_scratch(network: nn.Module, train: Batch, protocol: Protocol, *, generator: torch.Generator) -> None:
    """Train a fresh `network` in place on a flat batch, by the protocol."""
    _train_all([network], train, protocol, [generator])


def _train_all(
    networks: Sequence[nn.Module], train: Batch, protocol: Protocol, generators: Sequence[torch.Generator]
) -> None:
    augment: Augment | None = protocol.augment.per_image if protocol.augment.operations else None
    first = protocol.epochs // 2 + 1
    for epochs, factor in ((first, 1.0), (protocol.epochs - first, 0.1)):
        fit_many(
            networks,
            train,
            epochs=epochs,
            learning_rate=protocol.learning_rate * factor,
            momentum=protocol.momentum,
            weight_decay=protocol.weight_decay,
            batch_size=protocol.batch_size,
            augment=augment,
            generators=generators,
        )


@torch.no_grad()
def accuracy(network: nn.Module, test: ClassSampler) -> float:
    """The fraction of `test` that `network` names rightly, in evaluation mode; its mode is put back."""
    was_training = network.training
    network.eval()
    right = sum((logits(network, chunk.images).argmax(-1) == chunk.labels).sum() for chunk in test.all_chunks(_CHUNK))
    network.train(was_training)
    return int(right) / len(test)


def trained_networks(
    train: Batch, protocol: Protocol, *, image_shape: tuple[int, ...], num_classes: int, seed: int
) -> Iterator[nn.Module]:
    """Fresh networks trained on `train`, each from its own part of `seed`: one after another, or at once on a card."""
    new_network = network_factory(protocol.network, image_shape, num_classes)
    device = train.images.device
    generators = [derive_generator(seed, "evaluate", number, device=device) for number in range(protocol.num_networks)]
    networks = [new_network(generator) for generator in generators]
    if can_stack(networks):
        _train_all(networks, train, protocol, generators)
        yield from networks
        return
    for network, generator in zip(networks, generators, strict=True):
        train_from_scratch(network, train, protocol, generator=generator)
        yield network


def evaluate(
    train: Batch,
    test: ClassSampler,
    protocol: Protocol,
    *,
    seed: int,
    watch: Watch | None = None,
    engine: Engine | None = None,
    tell: Tell = ignore,
) -> Score:
    """Accuracy on `test` of `protocol.num_networks` fresh networks trained on the flat batch `train` (normalised).

    `watch` hears of every network that is done, `tell` of compiling. Neither batch nor global randomness is touched.
    Training runs on the batch's device. Raises `ValueError` where the images of `train` and `test` differ in shape.
    """
    return evaluate_on_each(train, {"test": test}, protocol, seed=seed, watch=watch, engine=engine, tell=tell)["test"]


def evaluate_on_each(
    train: Batch,
    tests: Mapping[str, ClassSampler],
    protocol: Protocol,
    *,
    seed: int,
    watch: Watch | None = None,
    engine: Engine | None = None,
    tell: Tell = ignore,
) -> dict[str, Score]:
    """`evaluate` on several sets of real images, by name, of networks that are trained once: to choose on one of them."""
    device, shape = train.images.device, tuple(train.images.shape[1:])
    others = [str(test.image_shape) for test in tests.values() if test.image_shape != shape]
    if others:
        raise ValueError(f"training and test images must be of one shape, got {shape} and {', '.join(others)}")
    tests = {name: test.to(device) for name, test in tests.items()}
    num_classes = next(iter(tests.values())).num_classes
    seen = protocol.num_networks * protocol.epochs * len(train.images)
    example = network_factory(protocol.network, shape, num_classes)(derive_generator(0))
    accuracies: dict[str, list[float]] = {name: [] for name in tests}
    with running_on(training_session(chosen(engine), example, shape, seen, device, tell=tell)):
        networks = trained_networks(train, protocol, image_shape=shape, num_classes=num_classes, seed=seed)
        for done, network in enumerate(networks, 1):
            for name, test in tests.items():
                accuracies[name].append(accuracy(network, test))
            if watch is not None:
                watch(done)
    return {name: Score(tuple(found)) for name, found in accuracies.items()}
