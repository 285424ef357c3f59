"""VICO-UoE/DatasetCondensation as a runner: DC, DSA, DM, evaluation and training steps by its own functions."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from core_distill.benchmark.inputs import DEPTH, Inputs
from core_distill.benchmark.peer_modules import import_from
from core_distill.benchmark.training_work import (
    BATCH,
    EPOCHS,
    EXPERT_IMAGES,
    LEARNING_RATE,
    MOMENTUM,
    NUM_EXPERTS,
    NUM_NETWORKS,
    TEST_IMAGES,
    WEIGHT_DECAY,
)
from core_distill.benchmark.unit import Timed
from core_distill.types import Batch

STRATEGY = "color_crop_cutout_flip_scale_rotate"
"""DSA's operations, in that code's notation."""

_DEFAULT_WIDTH = 128


@dataclass(frozen=True)
class Checkout:
    """The imported functions with our tensors: normalised float images, as that code keeps them, and their classes."""

    utils: ModuleType
    networks: ModuleType
    inputs: Inputs
    settings: SimpleNamespace
    images: Tensor
    members: list[Tensor]

    def new_network(self) -> nn.Module:
        """A network by that code's own function, or its class where the width is not the one that is fixed there."""
        size = self.inputs.size
        image = (size.side, size.side)
        if size.width == _DEFAULT_WIDTH:
            made: nn.Module = self.utils.get_network("ConvNet", size.channels, size.num_classes, image)
        else:
            made = self.networks.ConvNet(
                size.channels, size.num_classes, size.width, DEPTH, "relu", "instancenorm", "avgpooling", image
            )
        return made.to(self.inputs.device)

    def real(self, number: int) -> Tensor:
        """A batch of a class, drawn anew."""
        members = self.members[number]
        return self.images[members[torch.randperm(len(members))[: self.inputs.size.batch_real]]]

    def augmented(self, images: Tensor, seed: int) -> Tensor:
        """Changed alike by the seed."""
        changed: Tensor = self.utils.DiffAugment(images, STRATEGY, seed=seed, param=self.settings.dsa_param)
        return changed

    def labels(self, number: int, count: int) -> Tensor:
        """`count` times the class."""
        return torch.full((count,), number, dtype=torch.int64, device=self.inputs.device)

    def loader(self, batch: Batch, *, shuffle: bool) -> Any:
        """Its data set of tensors behind PyTorch's loader, as in its main script."""
        data = self.utils.TensorDataset(batch.images, batch.labels)
        return torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=shuffle, num_workers=0)

    def epoch(self, mode: str, loader: Any, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Its own function for a pass of training or testing."""
        self.utils.epoch(mode, loader, network, optimizer, nn.CrossEntropyLoss(), self.settings, aug=mode == "train")


def open_checkout(folder: Path, inputs: Inputs) -> Checkout:
    """Import `folder` and lay out our tensors as it expects them."""
    modules = import_from(folder, ("networks", "utils"))
    utils: Any = modules["utils"]
    utils.DiffAugment = mended(utils.DiffAugment)
    settings = SimpleNamespace(
        device=inputs.device,
        dis_metric="ours",
        dsa=True,
        dsa_strategy=STRATEGY,
        dsa_param=utils.ParamDiffAug(),
        dc_aug_param=None,
        dataset="FashionMNIST",
    )
    images = torch.cat([chunk.images for chunk in inputs.real.all_chunks(10_000)])
    members = [inputs.real.of_class(number) for number in range(inputs.size.num_classes)]
    return Checkout(utils, modules["networks"], inputs, settings, images, members)


def mended(augment: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`DiffAugment` of these codes on a PyTorch newer than theirs.

    A single image goes through twice: the way its one number is copied is refused now. Images come back with the usual
    strides: after a crop, those of grey ones make convolutions answer in a layout that the networks' `view` refuses.
    """

    def run(images: Tensor, *arguments: Any, **settings: Any) -> Tensor:
        several = images if len(images) > 1 else torch.cat([images, images])
        changed = augment(several, *arguments, **settings)
        return changed[: len(images)].clone(memory_format=torch.contiguous_format)

    return run


def _dc(folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    return _matching(open_checkout(folder, inputs), _gradient_loss, augmented=False)


def _dsa(folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    return _matching(open_checkout(folder, inputs), _gradient_loss, augmented=True)


def _dm(folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    return _matching(open_checkout(folder, inputs), _feature_loss, augmented=True)


def _matching(
    code: Checkout, class_loss: Callable[[Checkout, nn.Module, int, Tensor, Tensor], Tensor], *, augmented: bool
) -> tuple[Timed, ...]:
    """One step: a network, and class after class a real batch, a loss and its graph; then one backward pass."""
    size = code.inputs.size
    synthetic = code.inputs.flat_synthetic().images.clone().requires_grad_()
    seeds = itertools.count()

    def run() -> None:
        with undisturbed(code.inputs):
            network = code.new_network()
            network.train()
            total = torch.tensor(0.0, device=code.inputs.device)
            for number in range(size.num_classes):
                real = code.real(number)
                own = synthetic[number * size.images_per_class : (number + 1) * size.images_per_class]
                if augmented:
                    seed = next(seeds)
                    real, own = code.augmented(real, seed), code.augmented(own, seed)
                total = total + class_loss(code, network, number, real, own)
            total.backward()
            synthetic.grad = None

    return (Timed(run),)


def _gradient_loss(code: Checkout, network: nn.Module, number: int, real: Tensor, own: Tensor) -> Tensor:
    parameters, criterion = list(network.parameters()), nn.CrossEntropyLoss()
    targets = torch.autograd.grad(criterion(network(real), code.labels(number, len(real))), parameters)
    loss = criterion(network(own), code.labels(number, len(own)))
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    found: Tensor = code.utils.match_loss(gradients, [target.detach().clone() for target in targets], code.settings)
    return found


def _feature_loss(code: Checkout, network: Any, number: int, real: Tensor, own: Tensor) -> Tensor:
    if number == 0:
        network.requires_grad_(False)
    target, mean = network.embed(real).detach().mean(0), network.embed(own).mean(0)
    loss: Tensor = (target - mean).square().sum()
    return loss


def _evaluate(folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    code = open_checkout(folder, inputs)
    network, train = code.new_network(), code.loader(inputs.flat_synthetic(), shuffle=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    everything = inputs.test.take(torch.arange(len(inputs.test), device=inputs.device))
    test = code.loader(everything, shuffle=False)
    return (
        Timed(_quietly(inputs, lambda: code.epoch("train", train, network, optimizer)), NUM_NETWORKS * EPOCHS),
        Timed(
            _quietly(inputs, lambda: code.epoch("test", test, network, optimizer)),
            NUM_NETWORKS * TEST_IMAGES / len(inputs.test),
        ),
    )


def train_experts(folder: Path, inputs: Inputs) -> tuple[Timed, ...]:
    """One training step of one network on real images, through its loader and its pass."""
    code = open_checkout(folder, inputs)
    network = code.new_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)
    loader = code.loader(inputs.real.batch(BATCH, inputs.generator("peer")), shuffle=True)
    run = _quietly(inputs, lambda: code.epoch("train", loader, network, optimizer))
    return (Timed(run, NUM_EXPERTS * EXPERT_IMAGES / BATCH),)


def _quietly(inputs: Inputs, run: Callable[[], None]) -> Callable[[], None]:
    def inside() -> None:
        with undisturbed(inputs):
            run()

    return inside


@contextlib.contextmanager
def undisturbed(inputs: Inputs) -> Iterator[None]:
    """These codes seed the global generators from the clock and warn of old calls; outside nobody notices."""
    with torch.random.fork_rng([inputs.device] if inputs.device.type == "cuda" else []), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


CONDENSATION: Mapping[str, Callable[[Path, Inputs], tuple[Timed, ...]]] = {
    "dc": _dc,
    "dsa": _dsa,
    "dm": _dm,
    "evaluate": _evaluate,
    "experts": train_experts,
}
"""What this code can run."""
