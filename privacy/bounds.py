"""Statistics of an audit: from the number of right guesses to a lower bound on epsilon, with its confidence."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def epsilon_lower_bound(
    *,
    num_canaries: int,
    num_guesses: int,
    num_correct: int,
    delta: float,
    confidence: float = 0.95,
    num_choices: int = 1,
) -> float:
    """A lower bound on epsilon from one run with many canaries (Steinke, Nasr and Jagielski, 2023).

    Args:
        num_canaries: how many records were each included with probability one half, independently.
        num_guesses: on how many of them a guess was made; fixed before the scores were seen.
        num_correct: how many guesses were right.
        delta: the delta of the claim, in [0, 1).
        confidence: probability with which the bound holds, in (0, 1).
        num_choices: over how many numbers of guesses, declared beforehand, the best bound is taken; the error
            probability is divided by it (Bonferroni).

    Returns the largest epsilon whose p-value min(1, beta + 2 m delta alpha) lies below the error probability; 0 where
    nothing is shown. Raises `ValueError` for counts that do not fit together.
    """
    if not (1 <= num_guesses <= num_canaries and 0 <= num_correct <= num_guesses):
        raise ValueError(
            "an audit needs 0 <= num_correct <= num_guesses <= num_canaries and at least one guess, got "
            f"{num_correct}, {num_guesses} and {num_canaries}"
        )
    if not 0 <= delta < 1:
        raise ValueError(f"delta must lie in [0, 1), got {delta}")
    level = _error_probability(confidence) / num_choices

    def p_value(epsilon: float) -> float:
        return _p_value(epsilon, num_canaries, num_guesses, num_correct, delta)

    return _largest_below(p_value, level)


def max_attainable(*, num_canaries: int, num_guesses: int, delta: float, confidence: float = 0.95) -> float:
    """The bound if every guess were right: no audit of this size can show more, so a bound near it says little."""
    return epsilon_lower_bound(
        num_canaries=num_canaries,
        num_guesses=num_guesses,
        num_correct=num_guesses,
        delta=delta,
        confidence=confidence,
    )


def clopper_pearson_lower_bound(
    *,
    true_positives: int,
    num_positives: int,
    false_positives: int,
    num_negatives: int,
    delta: float,
    confidence: float = 0.95,
) -> float:
    """A lower bound on epsilon from independent runs: max(0, log((1 - a - delta) / b)).

    Here a and b are the rates of false negatives and false positives at the upper ends of their Clopper-Pearson intervals.

    Only for independent runs and a threshold chosen on other data; many canaries of one run depend on each other and
    need `epsilon_lower_bound`. Raises `ValueError` for counts that do not fit together.
    """
    if not (0 <= true_positives <= num_positives and 0 <= false_positives <= num_negatives):
        raise ValueError(
            f"counts must lie within their totals, got {true_positives} of {num_positives} and {false_positives} of "
            f"{num_negatives}"
        )
    if num_positives < 1 or num_negatives < 1:
        raise ValueError("both positives and negatives are needed, at least one run of each")
    level = _error_probability(confidence) / 2
    false_negative_rate = _upper_limit(num_positives - true_positives, num_positives, level)
    false_positive_rate = _upper_limit(false_positives, num_negatives, level)
    power = 1 - false_negative_rate - delta
    return max(0.0, math.log(power / false_positive_rate)) if power > 0 else 0.0


def _error_probability(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    return 1 - confidence


def _p_value(epsilon: float, num_canaries: int, num_guesses: int, num_correct: int, delta: float) -> float:
    """beta = P[Bin(r, q) >= v], alpha = max over i of P[v > Bin(r, q) >= v - i] / i, q = 1 / (1 + exp(-epsilon))."""
    masses = _binomial_masses(num_guesses, 1 / (1 + math.exp(-epsilon)))
    beta = masses[num_correct:].sum()
    below = np.cumsum(masses[:num_correct][::-1]) / np.arange(1, num_correct + 1)
    alpha = below.max() if num_correct else 0.0
    return min(1.0, float(beta + 2 * num_canaries * delta * alpha))


def _upper_limit(num_events: int, num_trials: int, level: float) -> float:
    """The rate at which `num_events` or fewer of `num_trials` would have probability `level`."""
    if num_events == num_trials:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        at_most = float(_binomial_masses(num_trials, middle)[: num_events + 1].sum())
        low, high = (middle, high) if at_most > level else (low, middle)
    return high


def _largest_below(p_value: Callable[[float], float], level: float) -> float:
    """The largest epsilon with p_value(epsilon) < level, for a p-value that grows with epsilon."""
    if p_value(0.0) >= level:
        return 0.0
    low, high = 0.0, 1.0
    while p_value(high) < level:
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle) < level else (low, middle)
    return low


def _binomial_masses(num_trials: int, probability: float) -> NDArray[np.float64]:
    """P[Bin(n, p) = i] for i = 0..n, `(n + 1,)` float64, with p in (0, 1)."""
    successes = np.arange(num_trials + 1)
    failures = num_trials - successes
    logarithms = _log_choose(num_trials) + successes * math.log(probability) + failures * math.log1p(-probability)
    return np.asarray(np.exp(logarithms))


@lru_cache(maxsize=16)
def _log_choose(num_trials: int) -> NDArray[np.float64]:
    log_factorials = np.array([math.lgamma(count + 1) for count in range(num_trials + 1)])
    return np.asarray(log_factorials[-1] - log_factorials - log_factorials[::-1])
