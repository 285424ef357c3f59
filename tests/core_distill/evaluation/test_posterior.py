"""Scores of probabilities by hand, and a posterior that a set gives, from draws to scores."""

import dataclasses
import functools
import math

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.evaluation import Hmc, PosteriorProtocol, Sghmc, evaluate_posterior, score_probabilities
from core_distill.networks import MLP, ConvNet, batch_norm
from core_distill.randomness import derive_generator
from core_distill.types import Batch

SMALL = functools.partial(ConvNet, width=4, depth=2)


def naive_calibration(probabilities, labels, bins):
    """Bin by bin, in plain Python."""
    total = 0.0
    for place in range(bins):
        members = []
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
            confidence = max(row)
            if place / bins < confidence <= (place + 1) / bins:
                members.append((confidence, row.index(confidence) == label))
        if members:
            confidence, right = (sum(part) / len(members) for part in zip(*members, strict=True))
            total += len(members) / len(labels) * abs(right - confidence)
    return total


def test_scores_by_hand():
    probabilities = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.1, 0.9]])
    score = score_probabilities(probabilities, torch.tensor([0, 1, 0]), bins=4)
    assert score.accuracy == pytest.approx(1 / 3)
    assert score.nll == pytest.approx(-(math.log(0.75) + math.log(0.5) + math.log(0.1)) / 3, rel=1e-6)
    assert score.brier == pytest.approx((2 * 0.25**2 + 2 * 0.5**2 + 2 * 0.9**2) / 3, rel=1e-6)
    # bins (0.25, 0.5], (0.5, 0.75] and (0.75, 1] with one prediction each: wrong at 0.5, right at 0.75, wrong at 0.9
    assert score.ece == pytest.approx((0.5 + 0.25 + 0.9) / 3, rel=1e-6)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_calibration_equals_a_naive_twin(bins):
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.randn(200, 4, dtype=torch.float64, generator=generator).mul(2).softmax(1)
    labels = torch.randint(4, (200,), generator=generator)
    score = score_probabilities(probabilities, labels, bins=bins)
    assert score.ece == pytest.approx(naive_calibration(probabilities, labels, bins), rel=1e-9)


def test_perfect_and_hopeless_predictions():
    labels = torch.tensor([0, 1, 2])
    sure = torch.eye(3)
    assert score_probabilities(sure, labels) == (1.0, 0.0, 0.0, 0.0)
    wrong = score_probabilities(sure.roll(1, 0), labels)
    assert (wrong.accuracy, wrong.ece, wrong.brier) == (0.0, 1.0, 2.0)
    assert math.isfinite(wrong.nll)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="lower the sampler's step_size"):
        score_probabilities(torch.tensor([[math.nan, 1.0]]), torch.tensor([1]))


@pytest.mark.parametrize("sampler", [Hmc(step_size=0.05, leapfrog_steps=8), Sghmc(step_size=0.05, steps=8)])
def test_a_posterior_predicts_better_than_chance_and_better_with_more_data(sampler, digits):
    generator = derive_generator(0)
    protocol = PosteriorProtocol(
        network=functools.partial(MLP, hidden=()), sampler=sampler, precision=1.0, burn_in=10, num_samples=20
    )
    few, many = (
        evaluate_posterior(Batch(images.flatten(0, 1), labels.flatten()), digits.validation, protocol, seed=0)
        for images, labels, _ in (digits.train.by_class(size, generator) for size in (1, 20))
    )
    assert 0.2 < few.accuracy < many.accuracy, (
        "chance is 0.1, and four of its standard deviations on 143 images another 0.1"
    )
    assert many.accuracy > 0.8
    assert many.nll < few.nll
    assert many.brier < few.brier


def test_draws_predict_together_after_the_burn_in(sampler):
    """With a sampler that gives the start and twice it, in turn, and the mean of what both say."""

    def in_turn(potential, start, generator):
        while True:
            yield start
            yield tuple(2 * value for value in start)

    protocol = PosteriorProtocol(network=SMALL, sampler=in_turn, burn_in=2, num_samples=4)
    train, seen = sampler.batch(6, derive_generator(1)), []
    score = evaluate_posterior(train, sampler, protocol, seed=3, watch=seen.append)
    assert seen == [1, 2, 3, 4, 5, 6]
    pair = dataclasses.replace(protocol, burn_in=0, num_samples=2)
    assert evaluate_posterior(train, sampler, pair, seed=3) == pytest.approx(score, rel=1e-6)
    alone = evaluate_posterior(train, sampler, dataclasses.replace(pair, num_samples=1), seed=3)
    assert alone.nll != pytest.approx(score.nll, rel=1e-3)


def test_samplers_get_the_protocols_prior(sampler):
    precisions = []

    def look(potential, start, generator):
        precisions.append(potential.precision)
        yield start

    protocol = PosteriorProtocol(network=SMALL, sampler=look, precision=0.3, burn_in=0, num_samples=1)
    evaluate_posterior(sampler.batch(6, derive_generator(1)), sampler, protocol, seed=0)
    assert precisions == [0.3]


def test_soft_labels_count_and_the_batch_stays(sampler):
    train = sampler.batch(6, derive_generator(1))
    soft = train._replace(labels=torch.full((6, 3), 1 / 3).requires_grad_())
    protocol = PosteriorProtocol(network=SMALL, sampler=Sghmc(steps=3), burn_in=1, num_samples=2)
    hard_score, soft_score = (evaluate_posterior(batch, sampler, protocol, seed=0) for batch in (train, soft))
    assert hard_score != soft_score
    assert soft.labels.grad is None
    assert evaluate_posterior(soft, sampler, protocol, seed=0) == soft_score


def test_what_does_not_fit_is_refused(sampler):
    train = sampler.batch(6, derive_generator(1))
    other = ClassSampler(torch.rand(6, 1, 9, 9), torch.arange(6) % 3, num_classes=3, mean=[0.0], std=[1.0])
    with pytest.raises(ValueError, match=r"one shape, got \(1, 8, 8\) and \(1, 9, 9\)"):
        evaluate_posterior(train, other, PosteriorProtocol(network=SMALL), seed=0)
    wild = PosteriorProtocol(network=SMALL, sampler=Sghmc(step_size=1e30, steps=3), burn_in=0, num_samples=2)
    with pytest.raises(ValueError, match="lower the sampler's step_size"):
        evaluate_posterior(train, sampler, wild, seed=0)
    with pytest.raises(ValueError, match="normalises over the batch has no posterior"):
        evaluate_posterior(train, sampler, PosteriorProtocol(network=functools.partial(SMALL, norm=batch_norm)), seed=0)
    for changes in ({"burn_in": -1}, {"num_samples": 0}, {"precision": -1.0}):
        with pytest.raises(ValueError, match="must be at least"):
            PosteriorProtocol(**changes)
