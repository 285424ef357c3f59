"""From a recipe to a private run: the same method, with its real data behind the private signal."""

import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, nn

from core_distill.averaging import Average
from core_distill.checkpoint import Checkpoint
from core_distill.data import ClassSampler
from core_distill.distill import Observer, Progress
from core_distill.networks import network_factory
from core_distill.partials import wrapped
from core_distill.randomness import derive_generator
from core_distill.recipes import Plan, Recipe, initial_set, new_optimizer, new_scheduler, run_plan
from core_distill.recipes.batches import uniform
from core_distill.recipes.new_method import fitting_augment
from core_distill.synthetic import SyntheticSet
from core_distill.synthetic.initialise import noise
from core_distill.types import Method, NetworkFactory, Signal, Stateful
from privacy.accounting import calibrate_noise
from privacy.clipping import ClippedFeatures, in_float32
from privacy.data import PrivateData
from privacy.ledger import Ledger, admit
from privacy.secret import SecretSeed
from privacy.signal import PrivateSignal


@dataclass(frozen=True, kw_only=True)
class PrivateRun:
    """Everything that `run_plan` takes, and what the privacy card needs; made by `make_private`."""

    method: Method
    synthetic: SyntheticSet
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    average: Average
    ledger: Ledger
    secret: SecretSeed
    data: PrivateData
    clip_norm: float
    noise_multiplier: float
    delta: float
    steps: int
    seed: int

    @property
    def state(self) -> dict[str, Stateful]:
        """What has to be saved beside the synthetic set and its optimizer, for `run_plan(..., state=...)`."""
        return {"ledger": self.ledger, "secret": self.secret, "data": self.data}

    def condense(self, *, checkpoint: Checkpoint | None = None, observers: Sequence[Observer] = ()) -> SyntheticSet:
        """Distil; afterwards `ledger.epsilon(delta)` is what the result has cost.

        Raises `ValueError` at the first loss whose sample of the private data the ledger was not charged for: the method
        has seen it by another way than its signal.
        """
        plan = Plan(self.method, self.synthetic, self.optimizer, self.scheduler, self.average)
        watched = [self._check_charged, *observers]
        return run_plan(
            plan, steps=self.steps, seed=self.seed, checkpoint=checkpoint, observers=watched, state=self.state
        )

    def _check_charged(self, progress: Progress) -> None:
        if self.data.num_draws != self.ledger.num_releases:
            raise ValueError(
                f"samples drawn of the private data: {self.data.num_draws}, releases charged: "
                f"{self.ledger.num_releases}; {type(self.method).__name__} does not send all real images through its "
                "signal, so nothing protects them: give its losses signal=self.signal"
            )


@dataclass(frozen=True)
class ClippedNetworks:
    """A `NetworkFactory` of networks with clipped features."""

    new_network: NetworkFactory
    clip_norm: float

    def __call__(self, generator: Generator) -> nn.Module:
        return ClippedFeatures(self.new_network(generator), clip_norm=self.clip_norm)


def make_private(
    recipe: Recipe,
    real: ClassSampler,
    *,
    public_class_size: int,
    public_normalisation: bool,
    delta: float,
    seed: int,
    target_epsilon: float | None = None,
    noise_multiplier: float | None = None,
    clip_norm: float | None = None,
    noise_seed: int | None = None,
    device: str | torch.device = "cpu",
) -> PrivateRun:
    """Set up `recipe` on `real` with differential privacy for adding or removing one record.

    Args:
        recipe: of a method with `private = True`, started from noise; its `steps` is the number of releases and its
            `batch_size` the expected number of records a class in each.
        public_class_size: records a class as public knowledge has it; see `PrivateData`.
        public_normalisation: that `real` is normalised with constants not computed from it (`DataSplits` says so).
        delta: of the guarantee, in (0, 1).
        target_epsilon, noise_multiplier: give exactly one; the other follows.
        clip_norm: bound on what one record contributes; without one, `public_clip_norm` of the initial noise images.
        noise_seed: leave it out for unpredictable noise; see `SecretSeed`.

    A delta of 1 over the number of records or more warns. Raises `ValueError` for what would void the guarantee, all
    problems at once, and for values out of range.
    """
    kind: Any = wrapped(recipe.method)
    admit(
        kind,
        initialised_from_real=recipe.initialise is not noise,
        public_normalisation=public_normalisation,
        images_look_at_data=_looks_at_data(recipe),
        labels_look_at_data=recipe.labels_look_at_data,
        uniform_batches=wrapped(recipe.batches) is uniform,
        has_experts=recipe.experts is not None,
    )
    if noise_seed == seed:
        raise ValueError(f"noise_seed must differ from seed, which the artefact publishes; both are {seed}")
    if (target_epsilon is None) == (noise_multiplier is None):
        raise ValueError(f"give either target_epsilon or noise_multiplier, got {target_epsilon} and {noise_multiplier}")
    rate = _sampling_rate(recipe, public_class_size)
    if target_epsilon is not None:
        noise_multiplier = calibrate_noise(target_epsilon, delta, sampling_rate=rate, steps=recipe.steps)
    assert noise_multiplier is not None
    real = real.to(device)
    synthetic = initial_set(real, recipe, seed=seed)
    new_network = network_factory(recipe.network, real.image_shape, real.num_classes)
    signal: Signal = kind.signal
    if clip_norm is None:
        clip_norm = public_clip_norm(
            signal, new_network, synthetic, derive_generator(seed, "clip norm", device=real.device)
        )
    ledger, secret = Ledger(), SecretSeed(noise_seed)
    data = PrivateData(real, public_class_size=public_class_size, secret=secret)
    private_signal = PrivateSignal(
        signal, data=data, clip_norm=clip_norm, noise_multiplier=noise_multiplier, ledger=ledger, secret=secret
    )
    ledger.epsilon(delta)  # refuses a delta out of range before anything is spent
    _warn_of_large_delta(delta, public_class_size * len(real.classes))
    method: Callable[..., Method] = recipe.method
    optimizer = new_optimizer(synthetic, recipe)
    return PrivateRun(
        method=method(
            real=data,
            new_network=ClippedNetworks(new_network, clip_norm),
            augment=fitting_augment(recipe, real),
            signal=private_signal,
        ),
        synthetic=synthetic,
        optimizer=optimizer,
        scheduler=new_scheduler(optimizer, recipe),
        average=Average(synthetic, decay=recipe.average),
        ledger=ledger,
        secret=secret,
        data=data,
        clip_norm=clip_norm,
        noise_multiplier=noise_multiplier,
        delta=delta,
        steps=recipe.steps,
        seed=seed,
    )


def public_clip_norm(
    signal: Signal, new_network: NetworkFactory, synthetic: SyntheticSet, generator: Generator, *, num_networks: int = 5
) -> float:
    """The median joint norm of the signal's targets for the initial noise images: a scale that knows no real data."""
    norms: list[float] = []
    batch = synthetic.by_class(generator)
    for _ in range(num_networks):
        with torch.no_grad(), in_float32():
            targets = signal.per_example(new_network(generator), batch)
        squares = torch.stack([target.detach().flatten(2).square().sum(2) for target in targets]).sum(0)
        norms += squares.sqrt().flatten().tolist()
    return statistics.median(norms)


def _warn_of_large_delta(delta: float, num_records: int) -> None:
    if delta * num_records >= 1:
        warnings.warn(
            f"delta {delta:g} is not below 1 over the {num_records} records: publishing one record whole would satisfy it; "
            f"take {0.1 / num_records:.0e} or less",
            stacklevel=3,
        )


def _looks_at_data(recipe: Recipe) -> bool:
    """Whether the images may have seen more of the records than `initialise` shows; of a kind that does not say, True."""
    kind = getattr(wrapped(recipe.images), "__self__", None)
    return bool(getattr(kind, "looks_at_data", True))


def _sampling_rate(recipe: Recipe, public_class_size: int) -> float:
    if "batch_size" not in recipe.values():
        raise ValueError(
            f"recipe {recipe.name} has no batch_size, the records a class in a loss, by which privacy is counted"
        )
    batch_size = recipe.values()["batch_size"]
    if not 1 <= batch_size <= public_class_size:
        raise ValueError(
            f"batch_size is {batch_size} records a class, but public_class_size says there are {public_class_size}; "
            'change it, for example with recipe.with_values({"batch_size": 32})'
        )
    return float(batch_size / public_class_size)
