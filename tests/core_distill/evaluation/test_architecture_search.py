"""Ranking architectures by a set: Spearman against scipy, what is trained, and that a stopped search goes on."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from core_distill.data import DataSplits
from core_distill.evaluation import Protocol, Score, evaluate
from core_distill.evaluation.architecture_search import Ranked, rank_architectures, rank_correlation
from core_distill.evaluation.kept import KeptScores
from core_distill.networks.search_space import search_space
from core_distill.recipes import find_recipe, prepare

SPACE = search_space(widths=(2, 4), depths=(2,), norms=("instance",))
PROTOCOL = Protocol(num_networks=1, epochs=2)
LEVELS = st.integers(0, 4).map(lambda level: level / 4)


@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=2, max_size=12))
def test_the_correlation_is_that_of_scipy(pairs):
    first, second = (list(side) for side in zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert rank_correlation(first, second) == 0
    else:
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)


def test_the_correlation_sees_order_alone():
    assert rank_correlation([0.1, 0.2, 0.9], [1, 5, 6]) == pytest.approx(1)
    assert rank_correlation([0.1, 0.2, 0.9], [3, 2, -7]) == pytest.approx(-1)
    with pytest.raises(ValueError, match="two numbers or more on both sides, got 1 and 1"):
        rank_correlation([0.1], [0.2])


def test_what_a_ranking_says():
    synthetic = {"small": Score((0.2, 0.4)), "wide": Score((0.6,)), "deep": Score((0.5,))}
    real = {"small": Score((0.7,)), "wide": Score((0.8,)), "deep": Score((0.9,))}
    validation = {"small": Score((0.1,)), "wide": Score((0.3,)), "deep": Score((0.2,))}
    told = Ranked(synthetic=synthetic, real=real, validation=validation).as_json()
    assert told == {
        "rank_correlation": pytest.approx(0.5),
        "chosen": "wide",
        "real_accuracy_of_chosen": 0.8,
        "best_real_accuracy": 0.9,
    }


def test_validation_images_choose():
    scores = {"first": Score((0.2,)), "second": Score((0.9,))}
    validation = {"first": Score((0.4,)), "second": Score((0.3,))}
    assert Ranked(synthetic=scores, real=scores, validation=validation).chosen == "first"


@pytest.fixture
def data(sampler):
    validation, test = sampler.subset(torch.arange(0, 36, 3)), sampler.subset(torch.arange(1, 36, 2))
    return DataSplits("toy", sampler, validation, test, ("a", "b", "c"), True, "0" * 16)


@pytest.fixture
def synthetic(sampler):
    recipe = find_recipe("dc", images_per_class=2).with_values({"width": 4, "depth": 2})
    return prepare(sampler, recipe, seed=0).synthetic


def test_every_network_trains_on_the_set_and_on_real_images(synthetic, sampler, data):
    found = rank_architectures(synthetic, data, PROTOCOL, space=SPACE, real_epochs=1, seed=0)
    assert list(found.synthetic) == list(found.real) == list(SPACE)
    name = "width 4, depth 2, norm instance, pooling maximum"
    own = Protocol(network=SPACE[name], num_networks=1, epochs=2)
    assert found.synthetic[name] == evaluate(synthetic.batch(), data.test, own, seed=0)
    assert found.validation[name] == evaluate(synthetic.batch(), data.validation, own, seed=0)
    own = Protocol(network=SPACE[name], num_networks=1, epochs=1)
    assert found.real[name] == evaluate(sampler.take(torch.arange(36)), data.test, own, seed=0)


def test_a_stopped_search_goes_on_with_the_next_network(synthetic, data, tmp_path, monkeypatch):
    calls = []

    def stopping(train, tests, protocol, **_):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append((len(train.images), protocol.network))
        return dict.fromkeys(tests, Score((len(calls) / 10,)))

    monkeypatch.setattr("core_distill.evaluation.architecture_search.evaluate_on_each", stopping)

    def search():
        kept = KeptScores(tmp_path / "nas.json", identity={"seed": 0})
        values = {"space": SPACE, "real_epochs": 1, "seed": 0, "keep": kept.keep_several}
        return rank_architectures(synthetic, data, PROTOCOL, **values)

    with pytest.raises(KeyboardInterrupt):
        search()

    def going_on(train, tests, protocol, **_):
        calls.append((len(train.images), protocol.network))
        return dict.fromkeys(tests, Score((0.5,)))

    monkeypatch.setattr("core_distill.evaluation.architecture_search.evaluate_on_each", going_on)
    found = search()
    assert calls == [(size, network) for network in SPACE.values() for size in (6, 36)]
    assert [score.mean for score in found.synthetic.values()] == [0.1, 0.3, 0.5, 0.5]


def test_a_network_that_does_not_take_the_images_is_told_before_any_is_trained(synthetic, data, monkeypatch):
    monkeypatch.setattr("core_distill.evaluation.architecture_search.evaluate_on_each", None)
    space = search_space(widths=(4,), depths=(2, 4))
    with pytest.raises(ValueError, match="depth"):
        rank_architectures(synthetic, data, PROTOCOL, space=space, real_epochs=1, seed=0)


def test_one_architecture_cannot_be_ranked(synthetic, data):
    space = dict(list(SPACE.items())[:1])
    with pytest.raises(ValueError, match="at least two, got 1"):
        rank_architectures(synthetic, data, PROTOCOL, space=space, real_epochs=1, seed=0)
