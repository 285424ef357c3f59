"""Bases, and hallucinators that show each of them in several ways: the same few small networks serve all classes."""

import math
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor, nn

from core_distill.networks.initialise import initialise
from core_distill.synthetic.budget import budget_of, check_counts, check_growth, image_sides
from core_distill.synthetic.start import Start

_KERNEL = 3
_DRAWN_SHARE = 0.1
_WHAT = "hallucinated sets"


class Hallucinators(nn.Module):
    """`count` small networks: a convolution, a scale and a shift for each of its pixels, and a transposed convolution back.

    All of them at once: the first convolution has their channels side by side, the second one a group for each.
    """

    def __init__(self, count: int, base_channels: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        if min(height, width) < _KERNEL:
            raise ValueError(f"hallucinators need images of {_KERNEL}x{_KERNEL} pixels at least, got {height}x{width}")
        self.count, maps = count, count * channels
        self.encoder = nn.Conv2d(base_channels, maps, _KERNEL)
        self.scale = nn.Parameter(torch.ones(maps, height - _KERNEL + 1, width - _KERNEL + 1))
        self.shift = nn.Parameter(torch.zeros_like(self.scale))
        self.decoder = nn.ConvTranspose2d(maps, maps, _KERNEL, groups=count)

    def forward(self, bases: Tensor) -> Tensor:
        """`(n, base_channels, h, w)` as each of them shows it, `(n * count, c, h, w)`."""
        maps = self.encoder(bases) * self.scale + self.shift
        shown: Tensor = self.decoder(maps).unflatten(1, (self.count, -1))
        return shown.flatten(0, 1)


class HallucinatedBases(nn.Module):
    """HaBa (Liu et al., arXiv 2210.16774, section 3.1): stored `bases (slots, c, h, w)`, each of which every one of the
    hallucinators makes an image of, so a slot has as many views.

    All is stored a byte a value, like pixels: at 3 x 32 x 32 five hallucinators cost as much as nine bases, which the paper
    adds to the budget and this class takes out of it (so the paper's 1, 10 and 50 bases a class are budgets of 2, 11 and 51).
    Bases of one channel, which the released code offers, cost a third of coloured ones.
    """

    looks_at_data: ClassVar[bool] = False

    def __init__(self, bases: Tensor, hallucinators: Hallucinators) -> None:
        super().__init__()
        self.bases, self.hallucinators = nn.Parameter(bases.detach().clone()), hallucinators
        self.views = hallucinators.count
        stored = sum(value.numel() for value in self.parameters())
        channels = hallucinators.decoder.weight.shape[1]
        check_growth(stored, self.views * channels * len(bases) * bases.shape[2] * bases.shape[3])

    @property
    def num_slots(self) -> int:
        return len(self.bases)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return (self.hallucinators.decoder.weight.shape[1], *self.bases.shape[2:])

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """Each base as all hallucinators show it, one after the other: `(n * views, c, h, w)`."""
        shown: Tensor = self.hallucinators(self.bases[slots])
        return shown

    def config(self) -> dict[str, object]:
        return {
            "shape": list(self.bases.shape),
            "channels": self.hallucinators.decoder.weight.shape[1],
            "hallucinators": self.views,
        }

    @classmethod
    def starting_at(
        cls, start: Start, *, hallucinators: int = 5, single_channel: bool = False, near_identity: bool = False
    ) -> Self:
        """Drawn images as bases, as many as the budget pays for after the hallucinators, which start as PyTorch starts layers.

        Args:
            hallucinators: how many show each base.
            single_channel: bases are the mean over channels.
            near_identity: hallucinators start at showing a base nearly as it is (but for its rim of one pixel): a short run
                has no time to get there.

        Raises `ValueError` where the budget pays for no base of each class.
        """
        shape = image_sides(start.real.image_shape, _WHAT)
        check_counts(hallucinators=hallucinators)
        base_channels = 1 if single_channel else shape[0]
        networks = _fresh(hallucinators, base_channels, shape, start.generator)
        if near_identity:
            _bring_near_identity(networks)
        count = _bases_a_class(start, networks, base_channels * shape[1] * shape[2])
        bases = start.draw(count)
        return cls(bases.mean(1, keepdim=True) if single_channel else bases, networks)

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...], *, hallucinators: int, single_channel: bool) -> int:
        """All that hallucinators show of the bases that have its bytes."""
        channels, _, _ = image_sides(image_shape, _WHAT)
        check_counts(hallucinators=hallucinators)
        return hallucinators * (channels if single_channel else 1)

    @classmethod
    def from_config(cls, *, shape: list[int], channels: int, hallucinators: int) -> Self:
        """An empty one of the given size, to load a state into."""
        _, base_channels, height, width = shape
        check_counts(base_channels=base_channels, height=height, width=width)
        check_counts(channels=channels, hallucinators=hallucinators)
        with torch.device("meta"):
            networks = Hallucinators(hallucinators, base_channels, (channels, height, width))
        bases = torch.empty(shape)
        return cls(bases, networks.to_empty(device=bases.device))


def _fresh(count: int, base_channels: int, shape: tuple[int, int, int], generator: Generator) -> Hallucinators:
    """Layers drawn from the generator alone; scales 1 and shifts 0."""
    with torch.device("meta"):
        networks = Hallucinators(count, base_channels, shape)
    networks.to_empty(device=generator.device)
    for layer in (networks.encoder, networks.decoder):
        initialise(layer, generator)
    nn.init.ones_(networks.scale)
    nn.init.zeros_(networks.shift)
    return networks


@torch.no_grad()
def _bring_near_identity(networks: Hallucinators) -> None:
    """Kernels that hand their middle on, and a tenth of what they were drawn as."""
    middle = _KERNEL // 2
    base_channels, channels = networks.encoder.weight.shape[1], networks.decoder.weight.shape[1]
    for layer in (networks.encoder, networks.decoder):
        for value in layer.parameters():
            value.mul_(_DRAWN_SHARE)
    for row in range(networks.count * channels):
        channel = row % channels
        networks.encoder.weight[row, channel % base_channels, middle, middle] += 1
        networks.decoder.weight[row, channel, middle, middle] += 1


def _bases_a_class(start: Start, networks: Hallucinators, base: int) -> int:
    """What hallucinators leave of the budget, in bases of `base` bytes."""
    classes, budget = len(start.real.classes), budget_of(start)
    stored = sum(value.numel() for value in networks.parameters())
    count = (budget - stored) // (classes * base)
    if count < 1:
        least = math.ceil((stored + classes * base) / (budget // start.images_per_class))
        raise ValueError(
            f"{networks.count} hallucinators take {stored:,} of the budget's {budget:,} bytes, and a base of each class "
            f"{classes * base:,} more: use fewer hallucinators, or {least} images_per_class"
        )
    return count
