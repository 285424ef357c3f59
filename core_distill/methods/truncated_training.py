"""RaT-BPTT: unrolled training over a window that starts at random in a long run, so that late training counts too."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from core_distill.augment import no_augment
from core_distill.engine import mean_loss, parameters_of
from core_distill.matching.adam_unrolling import AdamState, train_by_adam, train_window
from core_distill.matching.clipping import GradientClip
from core_distill.matching.walk import Batches
from core_distill.methods.numbers import check_from_one, check_from_zero
from core_distill.randomness import derive_generator, host_integers
from core_distill.synthetic import SyntheticSet
from core_distill.types import Batch, NetworkFactory, RealData, SiameseAugment


@dataclass(frozen=True, kw_only=True)
class TruncatedTraining:
    """RaT-BPTT (arXiv 2311.07025, Algorithm 1): the run ends at a random step, its last `window` steps are differentiated.

    A fresh network trains by Adam with the set's step size (one number, or one for each of `inner_steps`), each step on a
    random part of each class; the gradient of the images, not of labels and step sizes, is cut as in the released code.

    Args:
        batch_size: real images that the end of a run is judged on.
        inner_steps: of the longest run; a run has from `window` steps to all.
        window: how many steps at the end of a run are differentiated; all, where it is more.
        slots_per_class: what a step trains on, drawn anew for each; 0 is the whole set.
        clip: see `GradientClip`; 0 leaves gradients as they are.

    The usual norm of gradients lives in the method: a run of its own needs a method of its own.
    Raises `ValueError` for values out of range; `episode` also for networks with batch statistics and another number of
    step sizes.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False
    uses_step_size: ClassVar[bool] = True
    draws_by_class: ClassVar[bool] = False

    real: RealData
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    batch_size: int = 5000
    inner_steps: int = 200
    window: int = 60
    slots_per_class: int = 0
    clip: float = 2.0
    _clip: GradientClip | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_one(self, "inner_steps", "window")
        check_from_zero(self, "slots_per_class")
        object.__setattr__(self, "_clip", GradientClip(self.clip) if self.clip else None)

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """One run, one loss."""
        network = self.new_network(generator)
        own = synthetic.by_class(generator)
        images, labels = own.images, own.labels
        if self._clip is not None and images.requires_grad:
            images = self._clip(images)
        batch_at = self._batches(synthetic, generator)
        window = min(self.window, self.inner_steps)
        before = int(host_integers(self.inner_steps - window + 1, 1, generator, "window"))
        rate = synthetic.step_size
        if rate.shape not in ((), (self.inner_steps,)):
            raise ValueError(
                f"the set must have one step size or one for each of {self.inner_steps} inner steps, got {len(rate)}"
            )
        start = AdamState.at(parameters_of(network))
        state = train_by_adam(network, start, images, labels, batch_at, steps=before, step_size=rate)
        trained = train_window(network, state, images, labels, batch_at, steps=window, step_size=rate)
        real = self.real.batch(self.batch_size, generator)
        yield mean_loss(network, trained, Batch(self.augment.per_image(real.images, generator), real.labels))

    def state_dict(self) -> dict[str, Any]:
        """What the clip remembers, which outlives the episodes."""
        return {} if self._clip is None else self._clip.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved clip."""
        if self._clip is not None:
            self._clip.load_state_dict(state_dict)

    def _batches(self, synthetic: SyntheticSet, generator: Generator) -> Batches:
        """The batch of each step, the same whenever it is asked for."""
        classes, slots, views = len(synthetic.classes), synthetic.images_per_class, synthetic.views
        size = min(self.slots_per_class or slots, slots)
        device, seed = generator.device, generator.initial_seed()
        rows = torch.arange(classes, device=device).view(-1, 1, 1)

        def batch_at(step: int, images: Tensor, labels: Tensor) -> Batch:
            drawn = derive_generator(seed, "inner step", step, device=device)
            if size < slots:
                chosen = torch.rand(classes, slots, generator=drawn, device=device).argsort(1)[:, :size, None]
                images, labels = (value.unflatten(1, (slots, views)) for value in (images, labels))
                seen = torch.arange(views, device=device)
                images, labels = (value[rows, chosen, seen].flatten(1, 2) for value in (images, labels))
            return Batch(self.augment.per_image(images.flatten(0, 1), drawn), labels.flatten(0, 1))

        return batch_at
