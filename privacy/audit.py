"""Does a distillation keep its promise? A run with canaries bounds epsilon from below."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from core_distill.data import ClassSampler
from core_distill.randomness import derive_generator
from core_distill.synthetic import SyntheticSet
from privacy.bounds import epsilon_lower_bound, max_attainable
from privacy.canaries import CANARIES, CanaryScore

Distil = Callable[[ClassSampler], SyntheticSet]


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What an audit found.

    Attributes:
        claimed_epsilon: what the distillation promises at `delta`; None where it promises nothing.
        lower_bound: epsilon is at least this, with probability `confidence`; 0 shows nothing and proves nothing.
        max_attainable: the bound if every guess had been right; epsilon may be far above bounds that come near it.
        canaries: what kind of records they were.
    """

    claimed_epsilon: float | None
    delta: float
    lower_bound: float
    max_attainable: float
    canaries: str
    num_canaries: int
    num_guesses: int
    num_correct: int
    confidence: float

    @property
    def violated(self) -> bool:
        """Whether the claim is refuted at this confidence."""
        return self.claimed_epsilon is not None and self.lower_bound > self.claimed_epsilon

    def as_dict(self) -> dict[str, object]:
        """JSON values for the privacy card."""
        return {**asdict(self), "violated": self.violated}

    def __str__(self) -> str:
        claim = "no claim" if self.claimed_epsilon is None else f"claimed epsilon {self.claimed_epsilon:.2f}"
        return (
            f"{claim}; audit: epsilon >= {self.lower_bound:.2f} with {100 * self.confidence:.0f} % confidence "
            f"({self.num_correct} of {self.num_guesses} guesses right; it could show {self.max_attainable:.2f})"
        )


def audit_distillation(
    distil: Distil,
    data: ClassSampler,
    *,
    score: CanaryScore,
    num_canaries: int,
    num_guesses: int,
    delta: float,
    seed: int,
    claimed_epsilon: float | None = None,
    canaries: str = "mislabelled",
    confidence: float = 0.95,
) -> AuditReport:
    """Audit one distillation by the one-run method of Steinke, Nasr and Jagielski (2023).

    `num_canaries` random records are turned into canaries and each enters the training data with probability one half,
    on its own; `distil` runs once; then the `num_guesses / 2` highest scores are guessed in and as many lowest ones
    out. Numbers and score are fixed before the run, so the bound is valid as it stands.

    Args:
        distil: from training data to a synthetic set, at the settings that are audited.
        data: real records; those not turned into canaries are trained on for certain.
        score: see `privacy.canaries`; choose the one that fits the method before looking at results.
        canaries: "mislabelled", "natural" or "noise".

    Raises `ValueError` for numbers that do not fit together or unknown canaries.
    """
    if canaries not in CANARIES:
        raise ValueError(f"unknown canaries {canaries!r}; known: {', '.join(CANARIES)}")
    if not 2 <= num_canaries < len(data):
        raise ValueError(
            f"num_canaries must lie in 2..{len(data) - 1}, since some records stay as they are; got {num_canaries}"
        )
    if num_guesses % 2 or not 2 <= num_guesses <= num_canaries:
        raise ValueError(f"num_guesses must be even and lie in 2..{num_canaries}, got {num_guesses}")
    limit = max_attainable(num_canaries=num_canaries, num_guesses=num_guesses, delta=delta, confidence=confidence)
    generator = derive_generator(seed, "one-run audit", device=data.device)
    order = torch.randperm(len(data), generator=generator, device=data.device)
    planted = CANARIES[canaries](data.subset(order[:num_canaries]), generator)
    certain = data.subset(order[num_canaries:])
    included = torch.rand(num_canaries, generator=generator, device=data.device) < 0.5
    synthetic = distil(_joined(certain, planted, included))
    scores = score(synthetic, planted, certain, generator)
    num_correct = count_correct(scores, included, num_guesses=num_guesses)
    bound = epsilon_lower_bound(
        num_canaries=num_canaries,
        num_guesses=num_guesses,
        num_correct=num_correct,
        delta=delta,
        confidence=confidence,
    )
    return AuditReport(
        claimed_epsilon=claimed_epsilon,
        delta=delta,
        lower_bound=bound,
        max_attainable=limit,
        canaries=canaries,
        num_canaries=num_canaries,
        num_guesses=num_guesses,
        num_correct=num_correct,
        confidence=confidence,
    )


def count_correct(scores: Tensor, included: Tensor, *, num_guesses: int) -> int:
    """How many of `num_guesses` guesses are right: the upper half of them say in, the lower half out, the rest abstain.

    `scores (m,)` and `included (m,)` bool. Raises `ValueError` for scores that are not finite.
    """
    if not torch.isfinite(scores).all():
        raise ValueError("canary scores must be finite: the distillation or the score diverged")
    ranked = included[scores.argsort(descending=True)]
    half = num_guesses // 2
    return int(ranked[:half].sum()) + int((~ranked[len(ranked) - half :]).sum())


def _joined(certain: ClassSampler, planted: ClassSampler, included: Tensor) -> ClassSampler:
    """The certain records and the included canaries, as one sampler."""
    return ClassSampler(
        torch.cat([certain.images, planted.images[included]]),
        torch.cat([certain.labels, planted.labels[included]]),
        num_classes=certain.num_classes,
        mean=certain.mean,
        std=certain.std,
    )
