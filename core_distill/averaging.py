"""The average of what is learned, which may be released in place of where the last step happened to end."""

from typing import TYPE_CHECKING, Any, final

import torch

from core_distill.distill import Progress

if TYPE_CHECKING:
    from core_distill.synthetic import SyntheticSet


@final
class Average:
    """Exponential moving average of everything that `synthetic` learns, from where it starts on.

    After each step `a <- decay * a + (1 - decay) * x`. FTD (arXiv 2211.11004) releases such an average of its images. An
    observer of `distill`, and a part of its `state`, so that a resumed run ends with the same bits; `write_to` follows. A
    decay of 0, where the average is the set itself, keeps nothing and changes nothing.

    Raises `ValueError` for a decay outside [0, 1).
    """

    def __init__(self, synthetic: "SyntheticSet", *, decay: float) -> None:
        check_decay(decay)
        learned = [(name, value) for name, value in synthetic.named_parameters() if value.requires_grad]
        self._decay = decay
        self._values = {name: value.detach().clone() for name, value in learned} if decay else {}

    @torch.no_grad()
    def __call__(self, progress: Progress) -> None:
        """Take the set after a step in."""
        now = dict(progress.synthetic.named_parameters())
        for name, value in self._values.items():
            value.lerp_(now[name], 1 - self._decay)

    @torch.no_grad()
    def write_to(self, synthetic: "SyntheticSet") -> "SyntheticSet":
        """`synthetic`, of the same kind as the one before, with the average in the place of what it learned."""
        learned = dict(synthetic.named_parameters())
        for name, value in self._values.items():
            learned[name].copy_(value)
        return synthetic

    def state_dict(self) -> dict[str, Any]:
        """The average so far."""
        return dict(self._values)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        for name, value in self._values.items():
            value.copy_(state_dict[name])


def check_decay(decay: float) -> None:
    """Raise `ValueError` for a decay outside [0, 1)."""
    if not 0 <= decay < 1:
        raise ValueError(
            f"average, the decay of the released average, must lie in [0, 1), got {decay}; 0 releases the set"
        )
