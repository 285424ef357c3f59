"""Label modes: what they say, what is learned, what is refused."""

import pytest
import torch

from core_distill.synthetic import GivenLabels, HardLabels, SoftLabels

TARGETS = torch.tensor([0, 0, 2, 2])


def test_hard_labels_are_the_class_numbers_and_learn_nothing():
    labels = HardLabels(TARGETS, 3)
    assert labels(torch.tensor([3, 0])).tolist() == [2, 0]
    assert labels.num_slots == 4
    assert list(labels.parameters()) == []


def test_hard_labels_do_not_share_memory_with_the_caller():
    targets = TARGETS.clone()
    labels = HardLabels(targets, 3)
    targets[0] = 1
    assert labels.targets.tolist() == TARGETS.tolist()


@pytest.mark.parametrize("confidence", [0.9, 0.5, 1 / 3])
def test_soft_labels_start_at_the_confidence_asked_for(confidence):
    labels = SoftLabels.starting_at(TARGETS, 3, confidence=confidence)
    other = (1 - confidence) / 2
    expected = torch.tensor([[confidence, other, other]] * 2 + [[other, other, confidence]] * 2)
    torch.testing.assert_close(labels(torch.arange(4)), expected)
    assert labels(torch.arange(4)).sum(1).allclose(torch.ones(4))


def test_soft_labels_are_learned_through_the_softmax():
    labels = SoftLabels.starting_at(TARGETS, 3)
    labels(torch.tensor([1]))[0, 0].backward()
    p = labels(torch.tensor([1]))[0].detach()
    expected = p[0] * (torch.tensor([1.0, 0.0, 0.0]) - p)
    torch.testing.assert_close(labels.logits.grad[1], expected)
    assert labels.logits.grad[[0, 2, 3]].abs().sum() == 0


def test_soft_labels_without_confidence_are_uniform():
    labels = SoftLabels.starting_at(TARGETS, 3, confidence=0.0)
    assert torch.equal(labels(torch.arange(4)), torch.full((4, 3), 1 / 3))


@pytest.mark.parametrize("confidence", [0.3, 1.0, -1.0])
def test_a_confidence_that_is_none_is_refused(confidence):
    with pytest.raises(
        ValueError, match=rf"confidence must be 0, for uniform, or lie in \[0\.333, 1\), got {confidence}"
    ):
        SoftLabels.starting_at(TARGETS, 3, confidence=confidence)


def test_given_labels_are_handed_out_as_they_are():
    probabilities = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    labels = GivenLabels(probabilities)
    assert torch.equal(labels(torch.tensor([1, 0])), probabilities[[1, 0]])
    assert labels.num_slots == 2
    assert list(labels.parameters()) == []


@pytest.mark.parametrize(
    "probabilities",
    [torch.tensor([[0.5, float("nan")]]), torch.tensor([[1.1, -0.1]]), torch.ones(3), torch.ones(1, 2, 3)],
)
def test_given_labels_that_are_no_probabilities_are_refused(probabilities):
    with pytest.raises(ValueError, match=r"finite, from 0 up and of shape \(slots, num_classes\)"):
        GivenLabels(probabilities)


@pytest.mark.parametrize("make", [HardLabels, SoftLabels.starting_at])
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([0, 3]), r"must lie in 0\.\.2, got 0\.\.3"),
        (torch.tensor([-1, 2]), r"must lie in 0\.\.2, got -1\.\.2"),
        (torch.tensor([0.0, 1.0]), r"int64 of shape \(slots,\), got torch.float32"),
        (torch.tensor([[0, 1]]), r"got torch.int64 of shape \(1, 2\)"),
    ],
)
def test_targets_out_of_range_or_of_another_kind_are_refused(make, targets, message):
    with pytest.raises(ValueError, match=message):
        make(targets, 3)


@pytest.mark.parametrize(
    "labels", [HardLabels(TARGETS, 3), SoftLabels.starting_at(TARGETS, 3), GivenLabels(torch.ones(4, 3))]
)
def test_an_empty_one_of_the_same_size_takes_the_state(labels):
    empty = type(labels).from_config(**labels.config())
    empty.load_state_dict(labels.state_dict())
    assert torch.equal(empty(torch.arange(4)), labels(torch.arange(4)))
