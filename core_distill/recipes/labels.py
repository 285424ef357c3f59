"""How a recipe labels its set: by class numbers, learned probabilities, what a teacher says, or what a kernel solves for."""

from typing import NamedTuple

import torch
from torch import Tensor

from core_distill.matching.kernels import label_solve, nearest_probabilities
from core_distill.recipes.label_kernels import LabelKernel, feature_kernel
from core_distill.synthetic import GivenLabels, HardLabels, SoftLabels
from core_distill.synthetic.start import Slots, StartLabels


class LabelMode(NamedTuple):
    """How labels start, whether they are learned, whether a teacher is asked (the recipe's experts, after their last epoch),
    whether they have seen more of the real data than its class numbers, and the kind that is stored, by its name in
    `core_distill.synthetic.kinds.LABELS` (empty where it is not known)."""

    start: StartLabels
    learned: bool = False
    taught: bool = False
    looks_at_data: bool = True
    kind: str = ""


def hard(slots: Slots) -> HardLabels:
    """Each slot's class number."""
    return HardLabels(slots.targets, slots.num_classes)


def soft(slots: Slots, *, confidence: float = 0.9) -> SoftLabels:
    """Learned probabilities.

    Args:
        confidence: the probability of the slot's class at first; 0 is the same for all classes.
    """
    return SoftLabels.starting_at(slots.targets, slots.num_classes, confidence=confidence)


def teacher(slots: Slots, *, temperature: float = 1.0) -> GivenLabels:
    """What the teacher says of the images as they start, the mean over a slot's views.

    Args:
        temperature: divides the teacher's logits.
    """
    return GivenLabels(_taught(slots, temperature).softmax(-1))


def soft_teacher(slots: Slots, *, temperature: float = 1.0) -> SoftLabels:
    """Learned probabilities that start at the teacher's (DATM, arXiv 2310.05773, section 4.3).

    Args:
        temperature: divides the teacher's logits.
    """
    return SoftLabels(_taught(slots, temperature))


def solved(
    slots: Slots,
    *,
    solve_kernel: LabelKernel = feature_kernel,
    solve_images: int = 2_000,
    solve_networks: int = 4,
    solve_regularisation: float = 1e-3,
) -> GivenLabels:
    """Probabilities nearest to the targets that make kernel regression on the images as they start predict real labels best.

    Label Solve (arXiv 2011.00050), see `label_solve`; the mean over a slot's views.

    Args:
        solve_kernel: `features`, the mean kernel of fresh networks, or `tangent`, the paper's, of an infinitely wide one.
        solve_images: real images whose labels are predicted.
        solve_networks: fresh networks of the kernel of `features`.
        solve_regularisation: of the regression, relative to the mean of the kernel's diagonal.

    Raises `ValueError` for numbers below 1, and as the kernel and `label_solve`.
    """
    for name, value in (("solve_images", solve_images), ("solve_networks", solve_networks)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    start, count = slots.start, slots.images.shape[0]
    real = start.real.batch(solve_images, start.generator)
    with torch.no_grad():
        targets = label_solve(
            solve_kernel(start, solve_networks),
            slots.images.flatten(0, 1),
            real,
            num_classes=slots.num_classes,
            regularisation=solve_regularisation,
        )
    return GivenLabels(nearest_probabilities(targets.unflatten(0, (count, -1)).mean(1)))


def _taught(slots: Slots, temperature: float) -> Tensor:
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    logits: Tensor = slots.start.taught(slots.images.flatten(0, 1))
    mean: Tensor = logits.unflatten(0, slots.images.shape[:2]).mean(1)
    return mean / temperature


LABEL_MODES: dict[str, LabelMode] = {
    "hard": LabelMode(hard, looks_at_data=False, kind="hard"),
    "soft": LabelMode(soft, learned=True, looks_at_data=False, kind="soft"),
    "soft-teacher": LabelMode(soft_teacher, learned=True, taught=True, kind="soft"),
    "solved": LabelMode(solved, kind="given"),
    "teacher": LabelMode(teacher, taught=True, kind="given"),
}
"""The label modes by name."""

LABEL_STARTS: dict[str, StartLabels] = {name: mode.start for name, mode in LABEL_MODES.items()}
"""How each mode starts."""
