"""Acc-DD: which networks the method inside gets: experts, pushed along random directions of the published lengths."""

import functools

import pytest
import torch

from core_distill.augment import no_augment
from core_distill.methods import (
    DistributionMatching,
    EarlyStageMatching,
    KernelRegression,
    RealTrainedMatching,
    TrajectoryMatching,
)
from core_distill.methods.early_stage import random_direction
from core_distill.partials import declared
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.training.expert_settings import ExpertTraining
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertTrajectories

TRAINING = ExpertTraining(num_experts=2, training_epochs=2, training_rate=0.1, training_batch_size=12)


@pytest.fixture
def experts(sampler, new_network):
    return train_experts(sampler, new_network, TRAINING, augment=no_augment)


@pytest.fixture
def around(sampler, new_network, experts):
    inner = RealTrainedMatching(real=sampler, new_network=new_network, batch_size=4, outer_steps=2, network_images=8)
    return functools.partial(EarlyStageMatching, inner=inner, new_network=new_network, experts=experts)


def starts(experts, new_network):
    """Parameters of every expert after each epoch."""
    network = new_network(derive_generator(0))
    return {
        (number, epoch): [value.clone() for value in experts.load(network, number, epoch).parameters()]
        for number in range(2)
        for epoch in range(3)
    }


@pytest.mark.parametrize("expert_epochs", [1, 2])
def test_without_a_push_networks_are_the_experts(around, experts, new_network, expert_epochs):
    method = around(expert_epochs=expert_epochs, smallest_push=0.0, largest_push=0.0)
    known = starts(experts, new_network)
    seen = set()
    for seed in range(20):
        found = list(method.early_network(derive_generator(seed)).parameters())
        same = [key for key, value in known.items() if all(map(torch.equal, found, value))]
        assert len(same) == 1
        seen.update(same)
    assert seen == {(0, expert_epochs), (1, expert_epochs)}


def test_a_network_costs_reading_one_epoch(around, experts, new_network):
    read = []

    def trajectory(epoch):
        read.append(epoch)
        return tuple(experts.load(new_network(derive_generator(0)), 0, epoch).parameters())

    around(experts=ExpertTrajectories([trajectory], epochs=2)).early_network(derive_generator(0))
    assert read == [2]


@pytest.mark.parametrize("shape", [(5, 2, 3, 3), (4, 7)])
def test_a_direction_is_as_long_as_each_filter_and_points_anywhere(shape):
    weights = torch.randn(shape, generator=derive_generator(0)) * 3
    directions = torch.stack([random_direction(weights, derive_generator(1, number)) for number in range(200)])
    lengths = directions.flatten(2).norm(dim=2)
    torch.testing.assert_close(lengths, weights.flatten(1).norm(dim=1).expand(200, -1), rtol=1e-5, atol=1e-5)
    assert directions.mean(0).flatten(1).norm(dim=1).max() < 0.3 * lengths.max()


def test_pushes_have_the_published_lengths_and_leave_vectors_alone(around, experts, new_network):
    """Two directions of lengths 0.01 to 0.09, either way: their sum is no longer than 0.18 and rarely short."""
    method = around(expert_epochs=1)
    known = [starts(experts, new_network)[number, 1] for number in range(2)]
    lengths = []
    for seed in range(30):
        found = list(method.early_network(derive_generator(seed)).parameters())
        biases = [i for i, value in enumerate(found) if value.dim() == 1]
        (start,) = (value for value in known if all(torch.equal(found[i], value[i]) for i in biases))
        for value, before in zip(found, start, strict=True):
            if value.dim() > 1:
                moved = (value - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
                assert moved.max() <= 0.18 + 1e-5
                lengths.append(moved.mean())
    lengths = torch.stack(lengths)
    # independent directions: the mean square is 2 E[u^2] of u uniform in 0.01..0.09
    expected = 2 * (0.09**3 - 0.01**3) / (3 * 0.08)
    assert lengths.square().mean().item() == pytest.approx(expected, rel=0.35)
    assert lengths.min() > 0.002


def test_pushes_go_forth_and_back(around, experts, new_network, monkeypatch):
    """Along the weights themselves, two pushes of 0.05 make them 0.9, 1 or 1.1 times as long."""
    monkeypatch.setattr("core_distill.methods.early_stage.random_direction", lambda weights, generator: weights)
    method = around(smallest_push=0.05, largest_push=0.05)
    known = [starts(experts, new_network)[number, 2][0] for number in range(2)]
    factors = set()
    for seed in range(40):
        found = next(method.early_network(derive_generator(seed)).parameters())
        ratios = [round((found / value).mean().item(), 4) for value in known]
        factors.update(ratio for ratio in ratios if ratio in (0.9, 1.0, 1.1))
    assert factors == {0.9, 1.0, 1.1}


def test_the_method_inside_runs_on_them(around, sampler, new_network):
    synthetic = prepare(
        sampler, find_recipe("dc", images_per_class=2).with_values({"width": 4, "depth": 2}), seed=0
    ).synthetic
    method = around()
    plain = list(method.inner.episode(synthetic, derive_generator(0)))
    early = list(method.episode(synthetic, derive_generator(0)))
    assert len(early) == len(plain) == 2
    assert not torch.equal(early[0], plain[0])
    features = DistributionMatching(real=sampler, new_network=new_network, batch_size=4)
    (loss,) = around(inner=features).episode(synthetic, derive_generator(0))
    assert loss.requires_grad


def test_whether_it_uses_a_step_size_is_for_the_method_inside_to_say():
    for inner in (RealTrainedMatching, TrajectoryMatching):
        around = functools.partial(EarlyStageMatching, inner=functools.partial(inner))
        assert declared(around, "uses_step_size", True) is inner.uses_step_size


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"expert_epochs": 3}, "match fewer epochs"),
        ({"smallest_push": 0.2}, "must ascend from 0, got 0.2 and 0.09"),
        ({"smallest_push": -0.1}, "must ascend from 0, got -0.1 and 0.09"),
    ],
)
def test_values_out_of_range(around, values, message):
    with pytest.raises(ValueError, match=message):
        around(**values)


def test_a_method_with_a_pool_is_refused(around, sampler, new_network):
    with pytest.raises(ValueError, match="KernelRegression keeps things from one episode to the next"):
        around(inner=KernelRegression(real=sampler, new_network=new_network))
