"""What noisy releases cost: Rényi privacy of the Poisson-subsampled Gaussian mechanism, as epsilon at delta.

Small on purpose and without dependencies beyond numpy, so that a privacy claim can be read here from its formulas;
`cross_check` puts dp-accounting's answers beside ours where that library is installed.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ACCOUNTANT = "stillroom Rényi accountant 1"
"""Name and version of this accountant, as privacy cards record it."""

ORDERS: tuple[float, ...] = (
    *(1 + step / 10 for step in range(1, 100)),
    *map(float, range(11, 64)),
    128.0,
    256.0,
    512.0,
    1024.0,
)
"""The Rényi orders searched, fractional ones included."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """`count` releases of one kind: a sum over a Poisson sample with Gaussian noise added once to each.

    Args:
        noise_multiplier: standard deviation of the noise over the clipping norm, above 0.
        sampling_rate: probability with which each record enters a sample, in (0, 1].
        count: how many such releases, from 0 up.
        mechanism, sampler, neighbouring: what the numbers assume; only these values are accounted for. Neighbouring
            data sets differ by one record more or less.

    Raises `ValueError` for values out of range.
    """

    noise_multiplier: float
    sampling_rate: float
    count: int = 1
    mechanism: str = "gaussian"
    sampler: str = "poisson"
    neighbouring: str = "add or remove one record"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.noise_multiplier) and self.noise_multiplier > 0):
            raise ValueError(
                f"noise_multiplier must be above 0 and finite, got {self.noise_multiplier}: without noise there is no "
                "privacy guarantee; find a value with calibrate_noise(target_epsilon, delta, ...)"
            )
        _check_rate(self.sampling_rate)
        if self.count < 0:
            raise ValueError(f"count must be 0 or more, got {self.count}")
        assumed = ("gaussian", "poisson", "add or remove one record")
        if (self.mechanism, self.sampler, self.neighbouring) != assumed:
            raise ValueError(
                f"only {assumed} is accounted for, got {(self.mechanism, self.sampler, self.neighbouring)}"
            )


def rdp_epsilon(releases: Iterable[Release], delta: float) -> float:
    """The epsilon at `delta` of all `releases` together; 0 without any, infinite where no order gives a finite one.

    Composition adds Rényi divergences (Mironov, arXiv 1702.07476); each order is converted by Proposition 12 of
    arXiv 2004.00010 and the smallest result counts. Raises `ValueError` for a delta outside (0, 1).
    """
    check_delta(delta)
    divergences = np.zeros(len(ORDERS))
    for release in releases:
        if release.count:
            divergences += release.count * np.array(renyi_divergences(release.noise_multiplier, release.sampling_rate))
    return min(_to_epsilon(order, value, delta) for order, value in zip(ORDERS, divergences.tolist(), strict=True))


def calibrate_noise(
    target_epsilon: float, delta: float, *, sampling_rate: float, steps: int, tolerance: float = 1e-4
) -> float:
    """The smallest noise multiplier, from 0.1 up, with which `steps` releases cost at most `target_epsilon`.

    It is found within `tolerance` and never overshoots the target. Raises `ValueError` for a target, a delta, a rate or
    a number of steps out of range.
    """
    if not (math.isfinite(target_epsilon) and target_epsilon > 0):
        raise ValueError(f"target_epsilon must be above 0 and finite, got {target_epsilon}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    check_delta(delta)
    _check_rate(sampling_rate)

    def enough(noise_multiplier: float) -> bool:
        release = Release(noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, count=steps)
        return rdp_epsilon([release], delta) <= target_epsilon

    low, high = 0.1, 1.0
    while not enough(high):
        if high > 1e6:
            raise ValueError(
                f"epsilon {target_epsilon} at delta {delta} over {steps} steps needs noise above {high:g}: "
                "take fewer steps, a smaller sampling rate or a larger epsilon"
            )
        low, high = high, high * 2
    while high - low > tolerance * min(1.0, high):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def cross_check(releases: Iterable[Release], delta: float) -> dict[str, float]:
    """Our epsilon beside those of dp-accounting's Rényi and privacy-loss-distribution accountants.

    Returns `{"stillroom": ..., "dp_accounting_rdp": ..., "dp_accounting_pld": ...}`; the last is the tightest of the
    three. Raises `ImportError` with the install line where dp-accounting is missing.
    """
    try:
        from dp_accounting import dp_event
        from dp_accounting.pld import PLDAccountant
        from dp_accounting.rdp import RdpAccountant
    except ModuleNotFoundError as error:
        raise ImportError('cross_check needs dp-accounting: pip install "stillroom[privacy]"') from error
    listed = list(releases)
    theirs = {"dp_accounting_rdp": RdpAccountant(), "dp_accounting_pld": PLDAccountant()}
    for accountant in theirs.values():
        for release in listed:
            event = dp_event.PoissonSampledDpEvent(
                release.sampling_rate, dp_event.GaussianDpEvent(release.noise_multiplier)
            )
            accountant.compose(event, release.count)
    epsilons = {name: float(accountant.get_epsilon(delta)) for name, accountant in theirs.items()}
    return {"stillroom": rdp_epsilon(listed, delta), **epsilons}


@lru_cache(maxsize=64)
def renyi_divergences(noise_multiplier: float, sampling_rate: float) -> tuple[float, ...]:
    """The Rényi divergence of one release at each of `ORDERS` (Mironov, Talwar and Zhang, arXiv 1908.10530)."""
    if sampling_rate == 1:
        return tuple(order / (2 * noise_multiplier**2) for order in ORDERS)
    moments = (
        _log_moment_integer(int(order), noise_multiplier, sampling_rate)
        if order.is_integer()
        else _log_moment_fractional(order, noise_multiplier, sampling_rate)
        for order in ORDERS
    )
    return tuple(max(0.0, moment / (order - 1)) for order, moment in zip(ORDERS, moments, strict=True))


def check_delta(delta: float) -> None:
    """Raises `ValueError` unless `delta` lies in (0, 1)."""
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie strictly between 0 and 1, got {delta}; take less than 1 over the data size")


def _check_rate(sampling_rate: float) -> None:
    if not 0 < sampling_rate <= 1:
        raise ValueError(
            f"sampling_rate must be above 0 and at most 1, got {sampling_rate}; it is the expected batch size over the "
            "public size of the data"
        )


def _to_epsilon(order: float, divergence: float, delta: float) -> float:
    if delta**2 > -math.expm1(-divergence):  # total variation is at most sqrt(1 - exp(-KL)): epsilon 0 already holds
        return 0.0
    return max(0.0, divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1))


def _log_moment_integer(order: int, noise_multiplier: float, rate: float) -> float:
    """log E[(1 - q + q L)^order] by the binomial theorem, with E[L^k] = exp(k (k - 1) / (2 sigma^2))."""
    powers = np.arange(order + 1)
    log_factorials = np.array([math.lgamma(power + 1) for power in powers])
    terms = (
        log_factorials[-1]
        - log_factorials
        - log_factorials[::-1]
        + powers * math.log(rate)
        + (order - powers) * math.log1p(-rate)
        + powers * (powers - 1) / (2 * noise_multiplier**2)
    )
    return _log_sum(terms)


def _log_moment_fractional(order: float, noise_multiplier: float, rate: float) -> float:
    """log E[(1 - q + q L(x))^order], x from N(0, sigma^2), by the trapezoidal rule.

    The rule converges exponentially here: the integrand is analytic within pi sigma^2 of the real line and falls off
    like a Gaussian, so steps of sigma / 16 (and sigma^2 / 4) leave errors near rounding.
    """
    step = min(noise_multiplier / 16, noise_multiplier**2 / 4)
    points = np.arange(-14 * noise_multiplier, order + 14 * noise_multiplier, step)
    log_ratio = (2 * points - 1) / (2 * noise_multiplier**2)
    log_mixture = np.logaddexp(math.log1p(-rate), math.log(rate) + log_ratio)
    log_density = -((points / noise_multiplier) ** 2) / 2 - math.log(noise_multiplier * math.sqrt(2 * math.pi))
    return _log_sum(order * log_mixture + log_density) + math.log(step)


def _log_sum(logarithms: NDArray[np.float64]) -> float:
    largest = float(logarithms.max())
    return largest + math.log(float(np.exp(logarithms - largest).sum()))
