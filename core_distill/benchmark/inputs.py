"""What every measurement starts from: random data of a stated size, so that speed needs no download."""

import functools
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn

from core_distill.data import ClassSampler
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator
from core_distill.synthetic import HardLabels, Pixels, SyntheticSet
from core_distill.types import Batch, NetworkFactory

DEPTH = 3
"""Blocks of the network at every image side, so that cost against side compares one network."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a unit of work is; Fashion-MNIST's shape and the field's usual network where nothing else is said.

    Args:
        side: height and width of the images, in pixels.
        inner_steps: training steps a trajectory loss unrolls.
        width: channels of the ConvNet-3.
        batch_real: real images a class and matching step.
        real_images: in the whole training set; no class has fewer than `batch_real`.
        test_images: over which a test pass is timed, before it is scaled to 10,000.

    Raises `ValueError` for a number below 1 and for a side that three poolings do not leave a pixel of.
    """

    num_classes: int = 10
    images_per_class: int = 10
    side: int = 28
    inner_steps: int = 20
    channels: int = 1
    width: int = 128
    batch_real: int = 256
    real_images: int = 60_000
    test_images: int = 1_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.side < 2**DEPTH:
            raise ValueError(f"side must be at least {2**DEPTH} for {DEPTH} poolings, got {self.side}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Of one image, `(c, h, w)`."""
        return self.channels, self.side, self.side

    @property
    def synthetic_images(self) -> int:
        """In the whole synthetic set."""
        return self.num_classes * self.images_per_class


@dataclass(frozen=True)
class Inputs:
    """The tensors of one size on one device, the same for everyone who is timed.

    `learned` are the tensors whose gradient a step ends with.
    """

    size: Size
    real: ClassSampler
    test: ClassSampler
    synthetic: SyntheticSet
    new_network: NetworkFactory

    @property
    def device(self) -> torch.device:
        """Where everything lives."""
        return self.real.device

    @property
    def learned(self) -> list[Tensor]:
        """The parameters of the synthetic set."""
        return list(self.synthetic.parameters())

    def generator(self, *path: int | str) -> Generator:
        """A generator of this benchmark; the same path gives the same numbers to everyone."""
        return derive_generator(0, "benchmark", *path, device=self.device)

    def flat_synthetic(self) -> Batch:
        """All synthetic images and labels, detached."""
        images, labels = self.synthetic.batch()[:2]
        return Batch(images.detach(), labels)


def make_inputs(size: Size, device: torch.device | str = "cpu") -> Inputs:
    """Random images of `size` on `device`; the same ones each time."""
    generator = derive_generator(0, "benchmark", "images", device=device)
    each = max(size.batch_real, size.images_per_class, size.real_images // size.num_classes)
    real = _random_images(size, each * size.num_classes, generator)
    test = _random_images(size, max(size.test_images, size.num_classes), generator)
    start = torch.randn(size.synthetic_images, *size.image_shape, generator=generator, device=generator.device)
    labels = torch.arange(size.num_classes).repeat_interleave(size.images_per_class)
    synthetic = SyntheticSet(
        Pixels(start),
        HardLabels(labels, size.num_classes),
        classes=range(size.num_classes),
        num_classes=size.num_classes,
        images_per_class=size.images_per_class,
        mean=real.mean.tolist(),
        std=real.std.tolist(),
    ).to(device)
    new_network = network_factory(architecture(size), size.image_shape, size.num_classes)
    return Inputs(size, real, test, synthetic, new_network)


def architecture(size: Size) -> functools.partial[nn.Module]:
    """The ConvNet of `size`."""
    return functools.partial(cast(type[nn.Module], ConvNet), width=size.width, depth=DEPTH)


def _random_images(size: Size, count: int, generator: Generator) -> ClassSampler:
    device = generator.device
    images = torch.randint(0, 256, (count, *size.image_shape), dtype=torch.uint8, generator=generator, device=device)
    labels = torch.arange(count, device=device) % size.num_classes
    channels = [0.5] * size.channels
    return ClassSampler(images, labels, num_classes=size.num_classes, mean=channels, std=[0.29] * size.channels)
