"""What a synthetic image is called: a class number, given probabilities, or probabilities learned with the image."""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HardLabels(nn.Module):
    """Class numbers `(slots,)`, int64; nothing is learned."""

    targets: Tensor

    def __init__(self, targets: Tensor, num_classes: int) -> None:
        super().__init__()
        _check_targets(targets, num_classes)
        self.register_buffer("targets", targets.detach().clone())

    @property
    def num_slots(self) -> int:
        return len(self.targets)

    def forward(self, slots: Tensor) -> Tensor:
        """Class numbers `(n,)`."""
        return self.targets[slots]

    def config(self) -> dict[str, object]:
        return {"slots": len(self.targets)}

    @classmethod
    def from_config(cls, *, slots: int) -> Self:
        """An empty one of the given size, to load a state into."""
        return cls(torch.zeros(slots, dtype=torch.int64), 1)


class SoftLabels(nn.Module):
    """Learned class probabilities (SLDD, arXiv 1910.02551): softmax of `logits (slots, num_classes)`."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach().clone())

    @classmethod
    def starting_at(cls, targets: Tensor, num_classes: int, *, confidence: float = 0.9) -> Self:
        """Labels that give each slot's class in `targets (slots,)` the probability `confidence`, the others the rest.

        A confidence of 0 gives all classes the same. Raises `ValueError` for others outside [1 / num_classes, 1).
        """
        _check_targets(targets, num_classes)
        if not confidence:
            return cls(torch.zeros(len(targets), num_classes, device=targets.device))
        if not 1 / num_classes <= confidence < 1:
            raise ValueError(
                f"confidence must be 0, for uniform, or lie in [{1 / num_classes:.3g}, 1), got {confidence}"
            )
        others = (1 - confidence) / (num_classes - 1)
        return cls(F.one_hot(targets, num_classes) * math.log(confidence / others))

    @property
    def num_slots(self) -> int:
        return len(self.logits)

    def forward(self, slots: Tensor) -> Tensor:
        """Probabilities `(n, num_classes)`."""
        return self.logits[slots].softmax(-1)

    def config(self) -> dict[str, object]:
        return {"shape": list(self.logits.shape)}

    @classmethod
    def from_config(cls, *, shape: list[int]) -> Self:
        """An empty one of the given shape, to load a state into."""
        return cls(torch.empty(shape))


class GivenLabels(nn.Module):
    """Fixed class probabilities `(slots, num_classes)`, for example a teacher's; nothing is learned."""

    probabilities: Tensor

    def __init__(self, probabilities: Tensor) -> None:
        super().__init__()
        if probabilities.dim() != 2 or not (probabilities.is_meta or _are_weights(probabilities)):
            raise ValueError(
                f"probabilities must be finite, from 0 up and of shape (slots, num_classes), got shape {tuple(probabilities.shape)}"
            )
        self.register_buffer("probabilities", probabilities.detach().clone())

    @property
    def num_slots(self) -> int:
        return len(self.probabilities)

    def forward(self, slots: Tensor) -> Tensor:
        """Probabilities `(n, num_classes)`."""
        return self.probabilities[slots]

    def config(self) -> dict[str, object]:
        return {"shape": list(self.probabilities.shape)}

    @classmethod
    def from_config(cls, *, shape: list[int]) -> Self:
        """An empty one of the given shape, to load a state into."""
        return cls(torch.zeros(shape))


def _are_weights(probabilities: Tensor) -> bool:
    return bool(torch.isfinite(probabilities).all() and (probabilities >= 0).all())


def _check_targets(targets: Tensor, num_classes: int) -> None:
    if targets.dtype != torch.int64 or targets.dim() != 1:
        raise ValueError(f"labels must be int64 of shape (slots,), got {targets.dtype} of shape {tuple(targets.shape)}")
    if not targets.is_meta and len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < num_classes:
        raise ValueError(f"labels must lie in 0..{num_classes - 1}, got {int(targets.min())}..{int(targets.max())}")
