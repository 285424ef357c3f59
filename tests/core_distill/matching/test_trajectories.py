"""The distance of trajectory matching, in closed form."""

import torch

from core_distill.matching.trajectories import trajectory_distance


def test_one_at_the_start_and_zero_at_the_target():
    start, target = (torch.zeros(3), torch.ones(2, 2)), (torch.full((3,), 2.0), torch.zeros(2, 2))
    assert trajectory_distance(start, start, target) == 1
    assert trajectory_distance(target, start, target) == 0


def test_sums_over_all_parameters_before_it_divides():
    start, target = (torch.zeros(3), torch.zeros(2)), (torch.ones(3), torch.full((2,), 2.0))
    end = (torch.ones(3), torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(trajectory_distance(end, start, target), torch.tensor(4 / 11))


def test_only_the_end_feels_it():
    start, target = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    end = torch.tensor([3.0, 1.0], requires_grad=True)
    trajectory_distance([end], [start], [target]).backward()
    torch.testing.assert_close(end.grad, torch.tensor([2.0, 0.0]))
    assert start.grad is None
    assert target.grad is None
