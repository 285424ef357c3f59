import math

import mpmath
import pytest

from privacy import Release, calibrate_noise, cross_check, rdp_epsilon
from privacy.accounting import ORDERS, renyi_divergences

FASHION = Release(noise_multiplier=1.0, sampling_rate=256 / 60_000, count=10_000)


def test_golden_value():
    assert rdp_epsilon([FASHION], 1e-5) == pytest.approx(2.5660429633, abs=1e-6)


def test_agrees_with_dp_accounting():
    pytest.importorskip("dp_accounting")
    found = cross_check([FASHION], 1e-5)
    assert found["stillroom"] == pytest.approx(found["dp_accounting_rdp"], abs=1e-6)
    assert found["dp_accounting_pld"] == pytest.approx(2.34515, abs=1e-4)
    assert found["dp_accounting_pld"] < found["stillroom"]


@pytest.mark.parametrize(("noise", "rate"), [(0.5, 0.01), (1.0, 0.3), (4.0, 0.2)])
def test_divergences_are_the_integrals_they_stand_for(noise, rate):
    def integrand(order):
        def at(x):
            ratio = mpmath.exp((2 * x - 1) / (2 * noise**2))
            return mpmath.npdf(x, 0, noise) * (1 - rate + rate * ratio) ** order

        return at

    for order in (1.1, 1.5, 2.0, 2.5, 7.3, 12.0):
        edges = [-20 * noise, -3 * noise, 0, 1, order, order + 5 * noise, order + 20 * noise]
        exact = float(mpmath.log(mpmath.quad(integrand(order), edges)) / (order - 1))
        assert renyi_divergences(noise, rate)[ORDERS.index(order)] == pytest.approx(exact, rel=1e-7)


def test_without_subsampling_it_is_the_gaussian_mechanism():
    assert renyi_divergences(2.0, 1.0) == pytest.approx([order / 8 for order in ORDERS])


def test_composition_adds_up():
    one = Release(noise_multiplier=2.0, sampling_rate=0.1, count=30)
    other = Release(noise_multiplier=2.0, sampling_rate=0.1, count=70)
    whole = Release(noise_multiplier=2.0, sampling_rate=0.1, count=100)
    assert rdp_epsilon([one, other], 1e-5) == pytest.approx(rdp_epsilon([whole], 1e-5))
    assert rdp_epsilon([], 1e-5) == 0


@pytest.mark.parametrize("target", [0.3, 1.0, 10.0])
def test_calibration_meets_the_target_and_wastes_little(target):
    noise = calibrate_noise(target, 1e-5, sampling_rate=0.02, steps=500)
    spent = rdp_epsilon([Release(noise_multiplier=noise, sampling_rate=0.02, count=500)], 1e-5)
    less = rdp_epsilon([Release(noise_multiplier=noise * 0.99, sampling_rate=0.02, count=500)], 1e-5)
    assert spent <= target < less


@pytest.mark.parametrize("noise", [0.0, -1.0, math.nan, math.inf])
def test_no_noise_is_refused(noise):
    with pytest.raises(ValueError, match="noise_multiplier must be above 0"):
        Release(noise_multiplier=noise, sampling_rate=0.1)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.1, math.nan])
def test_bad_rates_are_refused(rate):
    with pytest.raises(ValueError, match="sampling_rate"):
        Release(noise_multiplier=1.0, sampling_rate=rate)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, math.nan])
def test_bad_deltas_are_refused(delta):
    with pytest.raises(ValueError, match="delta must lie strictly between 0 and 1"):
        rdp_epsilon([FASHION], delta)
    with pytest.raises(ValueError, match="delta"):
        calibrate_noise(1.0, delta, sampling_rate=0.1, steps=1)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="count"):
        Release(noise_multiplier=1.0, sampling_rate=0.1, count=-1)
    with pytest.raises(ValueError, match="accounted for"):
        Release(noise_multiplier=1.0, sampling_rate=0.1, sampler="shuffle")
    with pytest.raises(ValueError, match="target_epsilon"):
        calibrate_noise(0.0, 1e-5, sampling_rate=0.1, steps=1)
    with pytest.raises(ValueError, match="steps"):
        calibrate_noise(1.0, 1e-5, sampling_rate=0.1, steps=0)
    with pytest.raises(ValueError, match="take fewer steps"):
        calibrate_noise(1e-6, 1e-9, sampling_rate=1.0, steps=10**9)
