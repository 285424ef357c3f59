"""Images as latent vectors of a generator, which is trained on the real data, then frozen and stored with them (IT-GAN)."""

from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from core_distill.engine import features
from core_distill.networks.generator import ConvGenerator
from core_distill.synthetic.budget import check_counts, check_growth
from core_distill.synthetic.precision import decode_tensors, encode_tensors
from core_distill.synthetic.start import Start
from core_distill.training.generator_training import GeneratorTraining, trained_generator

_INVERSION_RATE = 0.1
_AT_ONCE = 256
_CANDIDATES = 16
"""Random latents looked at for each image, of which inversion starts at the nearest."""


class Latents(nn.Module):
    """IT-GAN (arXiv 2204.07513): learned `latents (slots, latent)`, shown by a frozen conditional generator.

    Slots go class after class, and `generator.num_classes` share them evenly. Latents cost one byte a value at uint8; the
    generator is stored as well, one byte a parameter, and that is *not* within the budget of the images: with its default
    sizes about 80,000 bytes at 28 x 28, as much as 10 images a class of 10 classes. `tensor_bytes` counts both. The
    weights are those that a file at uint8 holds, from the start: what is learned fits the generator that is read back.

    Raises `ValueError` where these do not fit together.
    """

    views = 1
    looks_at_data: ClassVar[bool] = True

    def __init__(self, latents: Tensor, generator: ConvGenerator) -> None:
        super().__init__()
        if latents.dim() != 2 or latents.shape[1] != generator.latent or len(latents) % generator.num_classes:
            raise ValueError(
                f"latents must be (slots, {generator.latent}) for {generator.num_classes} classes, got {tuple(latents.shape)}"
            )
        self.latents = nn.Parameter(latents.detach().clone())
        self.generator = generator.requires_grad_(False)

    @property
    def num_slots(self) -> int:
        return len(self.latents)

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.generator.image_shape

    def forward(self, slots: Tensor, generator: Generator | None = None) -> Tensor:
        """The images of `slots (n,)`, as `(n, *image_shape)`."""
        images: Tensor = self.generator(self.latents[slots], self._rows(slots))
        return images

    def _rows(self, slots: Tensor) -> Tensor:
        return slots // (self.num_slots // self.generator.num_classes)

    def config(self) -> dict[str, object]:
        return {
            "slots": self.num_slots,
            "image_shape": list(self.generator.image_shape),
            "classes": self.generator.num_classes,
            "latent": self.generator.latent,
            "generator_width": self.generator.width,
        }

    @classmethod
    def starting_at(
        cls,
        start: Start,
        *,
        latent: int = 32,
        most_latents: int = 8,
        generator_width: int = 32,
        generator_steps: int = 1000,
        generator_seed: int = 0,
        inversion_steps: int = 100,
    ) -> Self:
        """Latents that show drawn images as well as the generator can (GAN inversion): pixels and features match.

        The generator is trained on all real images, or read from the start's folder.

        Args:
            latent: numbers of a latent.
            most_latents: in place of an image are as many as its bytes hold, and at most these.
            generator_width, generator_steps, generator_seed: of the generator and its training.
            inversion_steps: of finding the latents that show the drawn images.

        Raises `ValueError` for sizes out of range.
        """
        shape = start.real.image_shape
        count = min(most_latents, torch.Size(shape).numel() // max(1, latent))
        if inversion_steps < 0:
            raise ValueError(f"inversion_steps must be at least 0, got {inversion_steps}")
        if count < 1:
            raise ValueError(
                f"a latent of {latent} values and most_latents {most_latents} leave nothing in place of an image {shape}: "
                "take a smaller latent, or more latents"
            )
        training = GeneratorTraining(latent=latent, width=generator_width, steps=generator_steps, seed=generator_seed)
        generator = trained_generator(start.real, training, folder=start.folder, show=start.show)
        _round(generator)
        images = start.draw(start.images_per_class * count)
        random = start.generator
        made = cls(torch.zeros(len(images), latent, device=random.device), generator)
        made._guess(images, random)
        made._invert(images, start.new_network(random), inversion_steps)
        return made

    @classmethod
    def from_config(
        cls, *, slots: int, image_shape: list[int], classes: int, latent: int, generator_width: int
    ) -> Self:
        """An empty one of the given size, to load a state into."""
        check_counts(slots=slots, classes=classes, latent=latent, generator_width=generator_width)
        generator = ConvGenerator(tuple(image_shape), classes, latent=latent, width=generator_width)
        check_growth(slots * latent, slots * torch.Size(generator.image_shape).numel())
        return cls(torch.empty(slots, latent), generator)

    @torch.no_grad()
    def _guess(self, images: Tensor, random: Generator) -> None:
        """Start each latent at the one of several random ones whose image is nearest to that of `images (slots, *shape)`."""
        for slots in torch.arange(self.num_slots, device=images.device).split(_AT_ONCE):
            shape = (_CANDIDATES, len(slots), self.latents.shape[1])
            tried = torch.randn(shape, generator=random, device=images.device)
            shown = torch.stack([self.generator(latents, self._rows(slots)) for latents in tried])
            nearest = (shown - images[slots]).flatten(2).square().sum(2).argmin(0)
            self.latents[slots] = tried[nearest, torch.arange(len(slots), device=images.device)]

    def _invert(self, images: Tensor, network: nn.Module, steps: int) -> None:
        """Adam on the mean squared distance to `images` in pixels and in features of a random network."""
        with torch.no_grad():
            wanted = features(network, images)
        optimizer = torch.optim.Adam([self.latents], lr=_INVERSION_RATE)
        scale = wanted.square().mean()
        every = torch.arange(self.num_slots, device=images.device)
        with torch.enable_grad():
            for _ in range(steps):
                optimizer.zero_grad()
                for slots in every.split(_AT_ONCE):
                    shown = self(slots)
                    pixels = F.mse_loss(shown, images[slots], reduction="sum") / images[0].numel()
                    seen = F.mse_loss(features(network, shown), wanted[slots], reduction="sum") / wanted[0].numel()
                    (pixels + seen / scale).backward()
                optimizer.step()
        optimizer.zero_grad()


def _round(generator: nn.Module) -> None:
    """Every tensor to the levels that a file at uint8 holds, which such a file then keeps exactly."""
    state = {f"images.{name}": value for name, value in generator.state_dict().items()}
    held = decode_tensors(encode_tensors(state, "uint8"), "uint8")
    generator.load_state_dict({name.removeprefix("images."): value for name, value in held.items()})
