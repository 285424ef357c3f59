"""DD-Ranking: closed forms of both scores, and what their accuracies are taken of."""

import dataclasses
import functools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core_distill.augment import no_augment
from core_distill.data import DataSplits
from core_distill.evaluation import Protocol, Score, evaluate, measure_dd_ranking
from core_distill.evaluation.dd_ranking import RankingPlan, augmentation_robust_score, label_robust_score
from core_distill.evaluation.train_from_scratch import train_from_scratch
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare

SMALL = functools.partial(ConvNet, width=4, depth=2)
PLAN = RankingPlan(protocol=Protocol(network=SMALL, num_networks=2, epochs=2), real_epochs=1)
FRACTION = st.floats(0, 1)
BUDGET = 3 * 2 * 65
SOFT_BUDGET = 3 * 2 * (64 + 4 * 3)


def lrs(real, hard, own, random, **weight):
    return label_robust_score(real_hard=real, synthetic_hard=hard, synthetic_own=own, random_own=random, **weight)


def ars(augmented, random_augmented, plain, random_plain, **weight):
    values = {"synthetic_augmented": augmented, "random_augmented": random_augmented, "synthetic_plain": plain}
    return augmentation_robust_score(**values, random_plain=random_plain, **weight)


def test_closed_forms():
    nothing = (1 - math.exp(-1)) / (math.e - math.exp(-1))
    assert nothing == pytest.approx(0.26894, abs=1e-5)
    assert lrs(0.6, 0.6, 0.4, 0.4) == ars(0.7, 0.7, 0.2, 0.2) == pytest.approx(nothing)
    assert lrs(1, 0, 0, 1) == ars(0, 1, 0, 1) == pytest.approx(0)
    assert lrs(0, 1, 1, 0) == ars(1, 0, 1, 0) == pytest.approx(1)
    assert lrs(0.9, 0.7, 0.8, 0.5) == pytest.approx((math.exp(0.05) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert ars(0.8, 0.5, 0.7, 0.6) == pytest.approx((math.exp(0.2) - math.exp(-1)) / (math.e - math.exp(-1)))


def test_weights_choose_one_side():
    assert lrs(0.9, 0.1, 0.5, 0.5, weight=1) == lrs(0.1, 0.1, 0.2, 0.2)
    assert lrs(0.5, 0.5, 0.9, 0.1, weight=0) == lrs(0.1, 0.1, 0.2, 0.2)
    assert ars(0.5, 0.5, 0.9, 0.1, weight=1) == ars(0.9, 0.1, 0.5, 0.5, weight=0) == lrs(0.1, 0.1, 0.2, 0.2)


@given(FRACTION, FRACTION, FRACTION, FRACTION, FRACTION)
def test_scores_lie_between_0_and_1(first, second, third, fourth, weight):
    for score in (lrs, ars):
        assert -1e-12 <= score(first, second, third, fourth, weight=weight) <= 1 + 1e-12


@pytest.mark.parametrize("score", [lrs, ars])
def test_percentages_are_refused(score):
    with pytest.raises(ValueError, match="fractions from 0 to 1, got 63; divide percentages by 100"):
        score(0.5, 63, 0.5, 0.5)
    with pytest.raises(ValueError, match=r"got -0\.5"):
        score(0.5, 0.5, 0.5, 0.5, weight=-0.5)


def test_a_plan_needs_augmentation_and_fractions():
    with pytest.raises(ValueError, match="give the protocol one"):
        RankingPlan(protocol=Protocol(augment=no_augment))
    with pytest.raises(ValueError, match="got 84"):
        dataclasses.replace(PLAN, real_accuracy=84.0)
    with pytest.raises(ValueError, match="real_epochs must be at least 1"):
        dataclasses.replace(PLAN, real_epochs=0)


@pytest.fixture
def data(sampler):
    validation, test = sampler.subset(torch.arange(0, 36, 3)), sampler.subset(torch.arange(1, 36, 2))
    return DataSplits("toy", sampler, validation, test, ("a", "b", "c"), True, "0" * 16)


def synthetic_of(sampler, labels):
    recipe = find_recipe("dc", images_per_class=2).with_values({"labels": labels, "width": 4, "depth": 2})
    return prepare(sampler, recipe, seed=0).synthetic


@pytest.fixture
def spied(monkeypatch):
    """What is trained on, with which protocol; every answer is another accuracy."""
    calls = []

    def spy(train, tests, protocol, **_):
        calls.append((train, tests, protocol))
        return {name: Score((len(calls) / 100, 0.5)) for name in tests}

    monkeypatch.setattr("core_distill.evaluation.dd_ranking.evaluate_on_each", spy)
    return calls


def test_what_a_hard_labelled_set_is_compared_with(sampler, data, spied):
    synthetic = synthetic_of(sampler, "hard")
    found = measure_dd_ranking(synthetic, data, PLAN, budget_bytes=BUDGET, seed=0)
    assert list(found.accuracies) == [
        "synthetic",
        "random",
        "synthetic, no augmentation",
        "random, no augmentation",
        "synthetic, hard labels",
        "real",
    ]
    own, random, own_plain, random_plain, real = spied
    for ours, plain in ((own, own_plain), (random, random_plain)):
        assert torch.equal(ours[0].images, plain[0].images)
        assert plain[2] == dataclasses.replace(PLAN.protocol, augment=no_augment)
        assert ours[2] == PLAN.protocol
    assert torch.equal(own[0].images, synthetic.batch().images)
    assert random[0].images.shape == own[0].images.shape
    assert len(real[0].images) == 36
    assert real[2].epochs == 1
    assert all(list(tests) == ["test"] for _, tests, _ in spied)
    expected = lrs(0.05, 0.01, 0.01, 0.02), lrs(0.5, 0.5, 0.5, 0.5)
    assert found.label_robust.accuracies == pytest.approx(expected)
    assert found.augmentation_robust.accuracies == pytest.approx((ars(0.01, 0.02, 0.03, 0.04), expected[1]))


def test_soft_labels_are_judged_beside_random_images_with_soft_labels(sampler, data, spied):
    synthetic = synthetic_of(sampler, "soft")
    plan = dataclasses.replace(PLAN, real_accuracy=0.9)
    found = measure_dd_ranking(synthetic, data, plan, budget_bytes=SOFT_BUDGET, seed=0)
    own, random, _, _, hard = spied
    assert own[0].labels.shape == random[0].labels.shape == (6, 3)
    torch.testing.assert_close(random[0].labels.sum(1), torch.ones(6))
    assert hard[0].labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(hard[0].images, own[0].images)
    assert found.accuracies["real"] == Score((0.9, 0.9))


def test_random_images_pay_for_their_soft_labels(sampler, data, spied):
    plan = dataclasses.replace(PLAN, real_accuracy=0.9)
    found = measure_dd_ranking(synthetic_of(sampler, "soft"), data, plan, budget_bytes=SOFT_BUDGET - 1, seed=0)
    assert len(spied[1][0].labels) == found.random_images == found.as_json()["random_images"] == 3


def test_who_labels_random_images_was_trained_on_all_real_ones(sampler, data, spied):
    plan = dataclasses.replace(PLAN, real_epochs=3, real_accuracy=0.9)
    measure_dd_ranking(synthetic_of(sampler, "soft"), data, plan, budget_bytes=BUDGET, seed=5)
    images, labels, *_ = spied[1][0]
    own = int(torch.randint(2**31, (1,), generator=derive_generator(5, "teacher")))
    generator = derive_generator(own, "evaluate", 0)
    teacher = network_factory(SMALL, (1, 8, 8), 3)(generator)
    everything, protocol = sampler.take(torch.arange(36)), dataclasses.replace(PLAN.protocol, epochs=3)
    train_from_scratch(teacher, everything, protocol, generator=generator)
    torch.testing.assert_close(labels, teacher(images).softmax(-1))


def test_every_set_is_tuned_alike_and_never_on_the_test_images(sampler, data, monkeypatch):
    rates = []

    def spy(train, tests, protocol, **_):
        rates.append(protocol.learning_rate)
        good = protocol.learning_rate == 0.1
        return {"test": Score((0.2 if good else 0.8,)), "validation": Score((0.9 if good else 0.1,))}

    monkeypatch.setattr("core_distill.evaluation.dd_ranking.evaluate_on_each", spy)
    plan = dataclasses.replace(PLAN, learning_rates=(0.01, 0.1, 1.0))
    found = measure_dd_ranking(synthetic_of(sampler, "hard"), data, plan, budget_bytes=BUDGET, seed=0)
    assert rates == [0.01, 0.1, 1.0] * 5
    assert {score.mean for score in found.accuracies.values()} == {0.2}


def test_scores_are_those_of_evaluate_and_what_is_kept_is_not_measured_again(sampler, data):
    synthetic, kept = synthetic_of(sampler, "hard"), {}

    def keep(name, measure):
        if name not in kept:
            kept[name] = measure()
        return kept[name]

    first = measure_dd_ranking(synthetic, data, PLAN, budget_bytes=BUDGET, seed=0, keep=keep)
    assert first.accuracies["synthetic"] == evaluate(synthetic.batch(), data.test, PLAN.protocol, seed=0)
    kept["random"] = Score((1.0, 1.0))
    again = measure_dd_ranking(synthetic, data, PLAN, budget_bytes=BUDGET, seed=0, keep=keep)
    assert again.accuracies == first.accuracies | {"random": Score((1.0, 1.0))}
    assert again.as_json()["label_robust_score"]["mean"] < first.label_robust.mean
