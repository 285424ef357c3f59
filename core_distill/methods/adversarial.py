"""HaBa's second player: views of one slot should differ, to an extractor that is trained to see that they are one."""

import copy
import functools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from core_distill.arriving import Arriving
from core_distill.augment import no_augment
from core_distill.engine import features
from core_distill.engine.outputs import output_gradient
from core_distill.matching.contrast import mean_likeness, supervised_contrastive_loss
from core_distill.methods.numbers import check_from_zero, check_momenta
from core_distill.synthetic import SyntheticSet
from core_distill.training.restored import restored
from core_distill.types import Batch, Method, NetworkFactory, SiameseAugment, Stateful


@dataclass(frozen=True, kw_only=True)
class Adversarial:
    """Adversarial contrast (HaBa, arXiv 2210.16774, section 3.2) around any method, for sets of several views a slot.

    To each loss of `inner` comes `diversity` times the likeness of two random views of each slot, to a feature extractor; after
    the update the extractor takes a step towards telling classes apart and finding those views alike. It sees synthetic images
    alone. It lives in the method: a run of its own needs a method of its own. A set of one view a slot has nothing to contrast:
    the losses are those of `inner`, and a warning says so.

    Args:
        inner: whose losses these are.
        new_network: the extractor's architecture, with `features`.
        diversity: weight of the likeness in the set's loss.
        likeness, contrast: weights of 1 - likeness and of the supervised contrastive loss, beside the cross-entropy in the
            extractor's.
        contrast_temperature: of the contrastive loss.
        adversary_rate, adversary_momentum: of the second player's steps.
        adversary_slots: random slots that each player looks at, at most.

    Raises `ValueError` for fewer than one slot, a temperature that is not above 0, and weights, rates and a momentum out of range.
    """

    private: ClassVar[bool] = False
    class_wise: ClassVar[bool] = False

    inner: Method
    new_network: NetworkFactory
    augment: SiameseAugment = no_augment
    diversity: float = 0.1
    likeness: float = 0.1
    contrast: float = 0.1
    contrast_temperature: float = 0.07
    adversary_rate: float = 0.001
    adversary_momentum: float = 0.9
    adversary_slots: int = 1000
    _extractor: "_Extractor" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_from_zero(self, "diversity", "likeness", "contrast", "adversary_rate")
        check_momenta(self, "adversary_momentum")
        if self.adversary_slots < 1 or not self.contrast_temperature > 0:
            raise ValueError(
                "adversary_slots must be at least 1 and contrast_temperature above 0, got "
                f"{self.adversary_slots} and {self.contrast_temperature}"
            )
        object.__setattr__(self, "_extractor", _Extractor(self.adversary_rate, self.adversary_momentum))

    def episode(self, synthetic: SyntheticSet, generator: Generator) -> Iterator[Tensor]:
        """An episode of the inner method."""
        if synthetic.views == 1:
            warnings.warn(
                "the second player of HaBa has no effect: it tells views of a slot apart, and this set makes one image of each; "
                "images=hallucinated-bases makes several",
                stacklevel=2,
            )
            yield from self.inner.episode(synthetic, generator)
            return
        for loss in self.inner.episode(synthetic, generator):
            extractor = self._extractor.ready(self.new_network, generator)
            seen = features(extractor, self._pairs(synthetic, generator).images)
            yield loss + self.diversity * mean_likeness(*seen.unflatten(0, (-1, 2)).unbind(1))
            with torch.no_grad():
                pairs = self._pairs(synthetic, generator)
            loss_of_pairs = functools.partial(self._loss, labels=pairs.labels)
            self._extractor.step(output_gradient(extractor, pairs.images, loss_of_pairs))

    def _pairs(self, synthetic: SyntheticSet, generator: Generator) -> Batch:
        """Slots as the same two random views show them, next to each other: images and labels `(2 * slots, ...)`."""
        images, labels, _ = synthetic.batch(self.adversary_slots, generator)
        two = torch.randperm(synthetic.views, generator=generator, device=generator.device)[:2]
        images, labels = (
            values.unflatten(0, (-1, synthetic.views)).index_select(1, two).flatten(0, 1) for values in (images, labels)
        )
        return Batch(self.augment.per_image(images, generator), labels)

    def _loss(self, seen: Tensor, logits: Tensor, *, labels: Tensor) -> Tensor:
        """What the extractor makes smaller; soft labels are of the class that they name first."""
        views = seen.unflatten(0, (-1, 2))
        classes = labels.argmax(-1) if labels.is_floating_point() else labels
        contrast = supervised_contrastive_loss(views, classes[::2], temperature=self.contrast_temperature)
        unlike = 1 - mean_likeness(*views.unbind(1))
        return F.cross_entropy(logits, labels) + self.likeness * unlike + self.contrast * contrast

    def state_dict(self) -> dict[str, Any]:
        """The extractor, and what the inner method keeps."""
        inner = self.inner.state_dict() if isinstance(self.inner, Stateful) else {}
        return {"extractor": self._extractor.state_dict(), "inner": inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved extractor and a saved inner method."""
        self._extractor.load_state_dict(state_dict["extractor"])
        if isinstance(self.inner, Stateful):
            self.inner.load_state_dict(state_dict["inner"])


@final
class _Extractor:
    """A network that is made when it is first asked for, on the device of the generator, and trained by SGD with momentum."""

    def __init__(self, rate: float, momentum: float) -> None:
        self._rate, self._momentum = rate, momentum
        self._network: nn.Module | None = None
        self._velocities: list[Tensor] = []
        self._saved: dict[str, Any] | None = None
        self._finite: Arriving | None = None

    def ready(self, new_network: NetworkFactory, generator: Generator) -> nn.Module:
        """The network as trained so far; `ValueError` where it is not finite."""
        self._refuse_divergence()
        if self._network is None:
            if self._saved is None:
                self._network = new_network(generator)
                self._velocities = [torch.zeros_like(parameter) for parameter in self._network.parameters()]
            else:
                self._network = restored(new_network, self._saved["network"], generator.device)
                self._velocities = [value.to(generator.device) for value in self._saved["velocities"]]
        return self._network

    @torch.no_grad()
    def step(self, gradient: tuple[Tensor, ...]) -> None:
        """Move against a gradient."""
        assert self._network is not None
        torch._foreach_mul_(self._velocities, self._momentum)
        torch._foreach_add_(self._velocities, gradient)
        torch._foreach_add_(list(self._network.parameters()), self._velocities, alpha=-self._rate)
        self._finite = Arriving(torch.nn.utils.get_total_norm(self._network.parameters()).isfinite())

    def _refuse_divergence(self) -> None:
        if self._finite is not None and not self._finite.read():
            raise ValueError(f"the network of the second player is not finite: lower adversary_rate, {self._rate:g}")

    def state_dict(self) -> dict[str, Any]:
        self._refuse_divergence()
        if self._network is None:
            return {"saved": self._saved}
        return {"saved": copy.deepcopy({"network": self._network.state_dict(), "velocities": self._velocities})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._network, self._saved, self._finite = None, state_dict["saved"], None
