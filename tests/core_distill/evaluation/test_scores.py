"""A number with its spread."""

import json
import math

import pytest

from core_distill.evaluation import Score


def test_mean_and_sample_standard_deviation():
    score = Score((0.5, 0.7, 0.9))
    assert score.mean == pytest.approx(0.7)
    assert score.std == pytest.approx(math.sqrt((0.04 + 0 + 0.04) / 2))
    assert str(score) == "70.0 ± 20.0 %"


def test_a_single_network_has_no_spread():
    assert Score((0.25,)).std == 0
    assert str(Score((0.25,))) == "25.0 %"


def test_the_json_holds_every_accuracy_in_order():
    score = Score((0.75, 0.25))
    assert json.loads(json.dumps(score.as_json())) == {
        "mean": 0.5,
        "std": pytest.approx(math.sqrt(0.125)),
        "accuracies": [0.75, 0.25],
    }
