"""Training the generator that latent images are made by, or reading one that was trained before."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Generator, Tensor, nn

from core_distill.checkpoint import Checkpoint
from core_distill.files import write_atomically
from core_distill.networks.generator import ConvDiscriminator, ConvGenerator
from core_distill.networks.initialise import initialise
from core_distill.progress import Advance, ShowProgress, silent
from core_distill.randomness import derive_generator
from core_distill.types import Stateful

if TYPE_CHECKING:
    from core_distill.data import ClassSampler

_KEY = "stillroom-generator"
_AVERAGE = 0.99
_BETAS = (0.5, 0.99)
_TOLD_EVERY = 10


class GeneratorError(ValueError):
    """A file of a generator that is damaged or of something else, or training that diverged."""


@final
@dataclass(frozen=True, kw_only=True)
class GeneratorTraining:
    """How a generator is trained: the hinge loss (arXiv 1705.02894) and Adam, one step each, and the mean of its weights.

    Args:
        latent, width: of the networks.
        steps, batch_size, rate: of the training; Adam's betas are 0.5 and 0.99.
        seed: of everything random, apart from the run's, so that runs of several seeds can share a generator.

    Raises `ValueError` for values out of range.
    """

    latent: int
    width: int
    steps: int
    batch_size: int = 64
    rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {
            "latent": self.latent,
            "generator_width": self.width,
            "generator_steps": self.steps,
            "batch_size": self.batch_size,
        }
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        if self.seed < 0:
            raise ValueError(f"generator_seed must be at least 0, got {self.seed}")


def trained_generator(
    real: "ClassSampler", training: GeneratorTraining, *, folder: Path | None = None, show: ShowProgress = silent
) -> ConvGenerator:
    """A conditional generator of the images of `real`, on its device; the one that `folder` holds is read instead.

    Its classes are those present, in order. With a folder, training that was stopped goes on, to the same bytes. Raises
    `GeneratorError` for a damaged file and for training that diverges, `CheckpointError` for half of one that is damaged.
    """
    identity = {"data": real.digest(), **dataclasses.asdict(training)}
    text = json.dumps(identity, sort_keys=True)
    path = folder / f"generator-{hashlib.sha256(text.encode()).hexdigest()[:8]}.safetensors" if folder else None
    generator = _empty_generator(real, training)
    if path is not None and path.exists():
        _read(path, text, generator)
        return generator
    half = Checkpoint(path.with_suffix(".half"), identity=identity) if path else None
    with show("train the generator", training.steps) as advance:
        _train(real, training, generator, half, advance)
    if not all(torch.isfinite(value).all() for value in generator.state_dict().values()):
        raise GeneratorError(
            "the generator's training diverged: choose another generator_seed or fewer generator_steps"
        )
    if path is not None:
        state = {name: value.cpu().contiguous() for name, value in generator.state_dict().items()}
        write_atomically(path, safetensors.torch.save(state, {_KEY: text}))
    if half is not None:
        half.path.unlink(missing_ok=True)
    return generator


def _empty_generator(real: "ClassSampler", training: GeneratorTraining) -> ConvGenerator:
    with torch.device("meta"):
        generator = ConvGenerator(real.image_shape, len(real.classes), latent=training.latent, width=training.width)
    return generator.to_empty(device=real.device)


def _read(path: Path, identity: str, generator: ConvGenerator) -> None:
    try:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        if header["__metadata__"][_KEY] != identity:
            raise GeneratorError(f"{path} is a generator of something else; choose another folder")
        generator.load_state_dict(safetensors.torch.load(data))
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, GeneratorError):
            raise
        raise GeneratorError(f"{path} is cut short or damaged ({error}); delete it to train it again") from error


@dataclass(frozen=True)
class _RandomState:
    """A generator's place in its numbers, which a checkpoint keeps."""

    generator: Generator

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.generator.set_state(state_dict["state"])


def _train(
    real: "ClassSampler",
    training: GeneratorTraining,
    averaged: ConvGenerator,
    half: Checkpoint | None,
    advance: Advance,
) -> None:
    """Train a generator, from where `half` stands, and write the running mean of its weights into `averaged`."""
    random = derive_generator(training.seed, "generator", device=real.device)
    made = _empty_generator(real, training)
    with torch.device("meta"):
        opponent = ConvDiscriminator(real.image_shape, len(real.classes), width=training.width)
    opponent.to_empty(device=real.device)
    for network in (made, opponent):
        _draw(network, random)
    _set_limits(made, real, random)
    averaged.load_state_dict(made.state_dict())
    updates = [torch.optim.Adam(network.parameters(), lr=training.rate, betas=_BETAS) for network in (opponent, made)]
    optimizers = {f"optimizer {number}": update for number, update in enumerate(updates)}
    networks = {"average": averaged, "made": made, "opponent": opponent}
    parts: dict[str, Stateful] = {**networks, **optimizers, "random": _RandomState(random)}
    first = half.resume(parts)[0] if half else 0
    with torch.enable_grad():
        for step in range(first, training.steps):
            for losses in _losses(made, opponent, real, training, random):
                update = updates[losses[0]]
                update.zero_grad()
                losses[1].backward()
                update.step()
            _follow(averaged, made, min(_AVERAGE, step / (step + 10)))
            if (step + 1) % _TOLD_EVERY == 0 or step + 1 == training.steps:
                advance(step + 1, "steps")
            if half and half.is_due():
                half.save(step + 1, 0, parts)


def _losses(
    made: ConvGenerator,
    opponent: ConvDiscriminator,
    real: "ClassSampler",
    training: GeneratorTraining,
    random: Generator,
) -> Iterator[tuple[int, Tensor]]:
    """The hinge loss of the opponent (0), then that of the generator (1)."""
    images, labels, _ = real.batch(training.batch_size, random)
    rows = torch.searchsorted(real.classes, labels)
    latents = torch.randn(len(rows), made.latent, generator=random, device=real.device)
    fakes = made(latents, rows)
    apart = F.relu(1 - opponent(images, rows)).mean() + F.relu(1 + opponent(fakes.detach(), rows)).mean()
    yield 0, apart
    yield 1, -opponent(fakes, rows).mean()


@torch.no_grad()
def _follow(averaged: nn.Module, made: nn.Module, keep: float) -> None:
    for mean, value in zip(averaged.parameters(), made.parameters(), strict=True):
        mean.lerp_(value, 1 - keep)


def _draw(network: nn.Module, random: Generator) -> None:
    buffers = dict(network.named_buffers(recurse=False))
    for name in buffers:
        delattr(network, name)
    initialise(network, random)
    for name, value in buffers.items():
        network.register_buffer(name, value)


def _set_limits(made: ConvGenerator, real: "ClassSampler", random: Generator) -> None:
    """The range of the generator's values: that of a few hundred real images, a channel."""
    images = real.batch(512, random).images
    seen = images.movedim(1, 0).flatten(1)
    made.low.copy_(seen.amin(1))
    made.high.copy_(seen.amax(1))
