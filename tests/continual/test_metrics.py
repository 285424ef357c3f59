import pytest

from continual.metrics import average_accuracy, forgetting, forgetting_from_best

MATRIX = [
    [0.8, 0.1, 0.0],
    [0.9, 0.7, 0.0],
    [0.5, 0.6, 1.0],
]


def test_closed_forms():
    assert average_accuracy(MATRIX) == pytest.approx((0.5 + 0.6 + 1.0) / 3)
    assert forgetting(MATRIX) == pytest.approx(((0.8 - 0.5) + (0.7 - 0.6)) / 2)
    assert forgetting_from_best(MATRIX) == pytest.approx(((0.9 - 0.5) + (0.7 - 0.6)) / 2)


def test_what_later_experiences_help_with_counts_below_zero():
    matrix = [[0.5, 0.0], [0.6, 1.0]]
    assert forgetting(matrix) == forgetting_from_best(matrix) == pytest.approx(-0.1)


def test_a_single_experience_forgets_nothing():
    assert forgetting([[0.4]]) == forgetting_from_best([[0.4]]) == 0
    assert average_accuracy([[0.4]]) == 0.4
