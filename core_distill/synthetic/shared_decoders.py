"""Images as small codes that a few tiny decoders, shared by all classes, make into images: every code by every decoder."""

import math
from typing import ClassVar, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from core_distill.networks.shapes import image_sides
from core_distill.synthetic.budget import budget_of, check_counts, check_growth
from core_distill.synthetic.start import Start

_WIDEST = 16
_FIT_RATE = 0.01
_FIT_BATCH = 64
_PATCH = 4
_LEAK = 0.2
_DECODERS_SHARE = 3
"""Decoders take at most this part of the bytes, where one channel each does not take more."""

_NUM_TENSORS = 7
_RANGE_BYTES = 8
"""What a tensor of 256 levels takes beside its values."""


class _Sizes(NamedTuple):
    """Of decoders from codes `(code_channels, rows, columns)` to images, over two doublings."""

    image_shape: tuple[int, int, int]
    code_channels: int
    width: int
    decoders: int

    def sides(self) -> list[tuple[int, int]]:
        """Of the maps, from codes to images."""
        _, height, width = self.image_shape
        return [(-(-height // step), -(-width // step)) for step in (4, 2, 1)]

    def code_shape(self) -> tuple[int, int, int]:
        return self.code_channels, *self.sides()[0]

    def layers(self) -> list[tuple[int, int]]:
        """Channels in and out of each convolution of one decoder."""
        return [(self.code_channels, self.width), (self.width, self.width), (self.width, self.image_shape[0])]

    def decoder_values(self) -> int:
        """How many numbers all decoders take."""
        return self.decoders * sum(9 * inside * out + out for inside, out in self.layers())


class SharedDecoders(nn.Module):
    """KFS (arXiv 2208.10494): learned `codes (slots, code_channels, rows, columns)` and learned convolutional decoders.

    A slot is a code and has a view for each decoder, so a set of n codes and m decoders shows n * m images. A code has a
    quarter of the image's rows and columns; a decoder is three 3x3 convolutions with leaky ReLU (0.2) and two nearest
    doublings between them. Both are stored, and together cost no more bytes at uint8 than the images they stand for.

    Raises `ValueError` for images that are none, sizes below 1, and codes of another shape.
    """

    looks_at_data: ClassVar[bool] = False

    def __init__(self, codes: Tensor, *, image_shape: tuple[int, ...], width: int, decoders: int) -> None:
        super().__init__()
        if min(width, decoders) < 1 or codes.dim() != 4:
            raise ValueError(f"decoders need a width and a number from 1 up, got {width} and {decoders}")
        self.sizes = _Sizes(image_sides(image_shape, "KFS"), codes.shape[1], width, decoders)
        if tuple(codes.shape[1:]) != self.sizes.code_shape() or not codes.shape[1]:
            raise ValueError(f"codes must be (slots, {self.sizes.code_shape()}), got {tuple(codes.shape)}")
        self.codes = nn.Parameter(codes.detach().clone())
        layers = self.sizes.layers()
        self.weights = nn.ParameterList(codes.new_zeros(decoders * out, inside, 3, 3) for inside, out in layers)
        self.biases = nn.ParameterList(codes.new_zeros(decoders * out) for _, out in layers)

    @property
    def views(self) -> int:
        """One image a decoder."""
        return self.sizes.decoders

    @property
    def num_slots(self) -> int:
        return len(self.codes)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.sizes.image_shape

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, each by every decoder, as `(n * views, *image_shape)`."""
        maps = self.codes[slots].repeat(1, self.views, 1, 1)
        layers = list(zip(self.weights, self.biases, self.sizes.sides(), strict=True))
        for number, (weight, bias, sides) in enumerate(layers):
            if number:
                maps = _doubled(F.leaky_relu(maps, _LEAK), sides)
            maps = F.conv2d(maps, weight, bias, padding=1, groups=self.views)
        return maps.reshape(-1, *self.sizes.image_shape)

    def config(self) -> dict[str, object]:
        return {
            "slots": self.num_slots,
            "image_shape": list(self.sizes.image_shape),
            "code_channels": self.sizes.code_channels,
            "decoder_width": self.sizes.width,
            "decoders": self.sizes.decoders,
        }

    @classmethod
    def starting_at(
        cls, start: Start, *, code_channels: int = 6, decoders: int = 3, decoder_width: int = 0, fit_steps: int = 300
    ) -> Self:
        """Codes and decoders fitted to drawn images by Adam: decoder j shows the j-th nearest neighbour of a code's image.

        Codes start at the principal components of its patches of 4 x 4 pixels.

        Args:
            code_channels: channels of a code.
            decoders: how many of them show each code.
            decoder_width: of the decoders' layers; 0 is the widest, up to 16, whose decoders take a third of the bytes. The
                rest are codes.
            fit_steps: of the fit, which see 64 codes each.

        Raises `ValueError` where no code is left for each class.
        """
        check_counts(code_channels=code_channels, decoders=decoders)
        if min(decoder_width, fit_steps) < 0:
            raise ValueError(f"decoder_width and fit_steps must be at least 0, got {decoder_width} and {fit_steps}")
        shape = image_sides(start.real.image_shape, "KFS")
        num_classes = len(start.real.classes)
        budget = budget_of(start) - _RANGE_BYTES * (_NUM_TENSORS - 1)
        sizes = _fitting(_Sizes(shape, code_channels, decoder_width, decoders), budget)
        code_values = torch.Size(sizes.code_shape()).numel()
        count = (budget - sizes.decoder_values()) // (code_values * num_classes)
        if count < 1:
            raise ValueError(
                f"{start.images_per_class} images a class leave no code beside {decoders} decoders of width {sizes.width}: "
                "take more images a class, or fewer decoders or code_channels"
            )
        targets = _neighbours(start.draw(count + decoders).unflatten(0, (num_classes, -1)), count, decoders)
        codes = _patch_components(targets[::decoders], sizes)
        made = cls(codes, image_shape=shape, width=sizes.width, decoders=decoders)
        made._draw_weights(start.generator)
        made._fit(targets, fit_steps, start.generator)
        return made

    @classmethod
    def shown_per_image(cls, image_shape: tuple[int, ...], *, code_channels: int, decoders: int) -> int:
        """All that decoders make of the codes that have its bytes, rounded up."""
        check_counts(code_channels=code_channels, decoders=decoders)
        shape = image_sides(image_shape, "KFS")
        code = math.prod(_Sizes(shape, code_channels, 1, decoders).code_shape())
        return decoders * math.ceil(math.prod(shape) / code)

    @classmethod
    def from_config(
        cls, *, slots: int, image_shape: list[int], code_channels: int, decoder_width: int, decoders: int
    ) -> Self:
        """An empty one of the given size, to load a state into."""
        check_counts(slots=slots, code_channels=code_channels, decoder_width=decoder_width, decoders=decoders)
        sizes = _Sizes(image_sides(tuple(image_shape), "KFS"), code_channels, decoder_width, decoders)
        check_counts(height=sizes.image_shape[1], width=sizes.image_shape[2], channels=sizes.image_shape[0])
        code_values = torch.Size(sizes.code_shape()).numel()
        check_growth(slots * code_values, slots * decoders * torch.Size(sizes.image_shape).numel())
        codes = torch.empty(slots, *sizes.code_shape())
        return cls(codes, image_shape=sizes.image_shape, width=decoder_width, decoders=decoders)

    def _draw_weights(self, generator: Generator) -> None:
        for weight in self.weights:
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)

    def _fit(self, targets: Tensor, steps: int, generator: Generator) -> None:
        """Adam on the squared distance to `targets (slots * views, *shape)`."""
        optimizer = torch.optim.Adam(self.parameters(), lr=_FIT_RATE)
        wanted = targets.unflatten(0, (-1, self.views))
        with torch.enable_grad():
            for _ in range(steps):
                slots = torch.randperm(self.num_slots, generator=generator, device=targets.device)[:_FIT_BATCH]
                optimizer.zero_grad()
                F.mse_loss(self(slots), wanted[slots].flatten(0, 1)).backward()
                optimizer.step()
        optimizer.zero_grad()


def _fitting(sizes: _Sizes, budget: int) -> _Sizes:
    """The sizes as asked for, or with the widest decoders that leave most of the budget to codes."""
    if sizes.width:
        return sizes
    tried = [sizes._replace(width=width) for width in range(_WIDEST, 0, -1)]
    return next((one for one in tried if one.decoder_values() * _DECODERS_SHARE <= budget), tried[-1])


def _neighbours(images: Tensor, count: int, views: int) -> Tensor:
    """For the first `count` of each class, `images (k, n, *shape)`, its `views` nearest, itself first, flat."""
    flat = images.flatten(2)
    nearest = torch.cdist(flat[:, :count], flat).argsort(dim=2, stable=True)[:, :, :views]
    rows = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return images[rows, nearest].flatten(0, 2)


def _patch_components(images: Tensor, sizes: _Sizes) -> Tensor:
    """`images (n, c, h, w)` as codes: the first principal components of their patches, of variance about 1."""
    _, rows, columns = sizes.code_shape()
    height, width = images.shape[2:]
    padded = F.pad(images, (0, columns * _PATCH - width, 0, rows * _PATCH - height))
    patches = F.pixel_unshuffle(padded, _PATCH).movedim(1, -1)
    centred = (patches - patches.mean((0, 1, 2))).flatten(0, 2).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    kept = min(sizes.code_channels, len(values))
    spread = values[-kept:].clamp(min=1e-6 * values[-1].clamp(min=1e-12)).sqrt()
    codes = ((centred @ vectors[:, -kept:]) / spread).to(images.dtype).view(*patches.shape[:3], kept).movedim(-1, 1)
    return F.pad(codes, (0, 0, 0, 0, 0, sizes.code_channels - kept)).contiguous()


def _doubled(maps: Tensor, sides: tuple[int, int]) -> Tensor:
    """Every value twice in each direction, cut to `sides`."""
    return maps.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, : sides[0], : sides[1]]
