import numpy as np
import pytest
from scipy.stats import binom

from privacy import clopper_pearson_lower_bound, epsilon_lower_bound, max_attainable

ONE_RUN = [
    (1000, 1000, 600, 1e-5, 0.2972),
    (1000, 200, 180, 1e-5, 1.7963),
    (1000, 100, 100, 1e-5, 3.4654),
    (1000, 100, 100, 0.0, 3.4930),
    (200, 50, 45, 1e-5, 1.3920),
    (5000, 500, 480, 1e-5, 2.7830),
    (1000, 1000, 510, 1e-5, 0.0),
]
MANY_RUNS = [
    (100, 1000, 1, 1000, 1e-5, 2.6925),
    (500, 500, 0, 500, 1e-5, 4.9056),
    (60, 1000, 10, 1000, 1e-5, 0.9229),
    (1000, 1000, 0, 1000, 0.0, 5.6006),
]


@pytest.mark.parametrize(("canaries", "guesses", "correct", "delta", "expected"), ONE_RUN)
def test_one_run_golden_values(canaries, guesses, correct, delta, expected):
    bound = epsilon_lower_bound(num_canaries=canaries, num_guesses=guesses, num_correct=correct, delta=delta)
    assert bound == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize(("hits", "positives", "alarms", "negatives", "delta", "expected"), MANY_RUNS)
def test_many_runs_golden_values(hits, positives, alarms, negatives, delta, expected):
    bound = clopper_pearson_lower_bound(
        true_positives=hits, num_positives=positives, false_positives=alarms, num_negatives=negatives, delta=delta
    )
    assert bound == pytest.approx(expected, abs=5.1e-5)


def test_the_bound_is_where_the_p_value_crosses_the_level():
    canaries, guesses, correct, delta = 300, 80, 66, 1e-4
    epsilon = epsilon_lower_bound(num_canaries=canaries, num_guesses=guesses, num_correct=correct, delta=delta)
    law = binom(guesses, 1 / (1 + np.exp(-epsilon)))
    steps = range(1, correct + 1)
    alpha = max((law.cdf(correct - 1) - law.cdf(correct - i - 1)) / i for i in steps)
    assert law.sf(correct - 1) + 2 * canaries * delta * alpha == pytest.approx(0.05, rel=1e-6)


def test_right_guesses_by_chance_rarely_refute_epsilon_zero():
    rng = np.random.default_rng(0)
    correct = rng.binomial(100, 0.5, size=200)
    wrong = sum(
        epsilon_lower_bound(num_canaries=300, num_guesses=100, num_correct=int(c), delta=1e-5) > 0 for c in correct
    )
    assert wrong <= 0.05 * 200


def test_choosing_among_several_numbers_of_guesses_costs():
    fixed = epsilon_lower_bound(num_canaries=300, num_guesses=100, num_correct=80, delta=0)
    chosen = epsilon_lower_bound(num_canaries=300, num_guesses=100, num_correct=80, delta=0, num_choices=5)
    assert 0 < chosen < fixed


def test_max_attainable_is_the_bound_for_perfect_guesses():
    assert max_attainable(num_canaries=1000, num_guesses=100, delta=0.0) == pytest.approx(3.4930, abs=5.1e-5)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"num_correct": 11}, "num_correct"),
        ({"num_guesses": 0, "num_correct": 0}, "at least one guess"),
        ({"num_guesses": 200}, "num_guesses"),
        ({"delta": 1.0}, "delta"),
        ({"delta": -0.1}, "delta"),
        ({"confidence": 1.0}, "confidence"),
    ],
)
def test_bad_counts_are_refused(changed, match):
    good = {"num_canaries": 100, "num_guesses": 10, "num_correct": 5, "delta": 0.0}
    with pytest.raises(ValueError, match=match):
        epsilon_lower_bound(**{**good, **changed})


def test_bad_rates_are_refused():
    with pytest.raises(ValueError, match="within their totals"):
        clopper_pearson_lower_bound(true_positives=2, num_positives=1, false_positives=0, num_negatives=1, delta=0.0)
    with pytest.raises(ValueError, match="at least one run"):
        clopper_pearson_lower_bound(true_positives=0, num_positives=0, false_positives=0, num_negatives=1, delta=0.0)
