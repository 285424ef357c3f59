"""How alike features are: against loops over pairs, and in closed form."""

import math

import pytest
import torch

from core_distill.matching.contrast import mean_likeness, supervised_contrastive_loss


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(embeddings, labels, temperature):
    """SupCon's sum over anchors and positives, one pair at a time."""
    directions = [view / view.norm() for example in embeddings for view in example]
    classes = [label for label in labels.tolist() for _ in range(embeddings.shape[1])]
    total = 0.0
    for i, anchor in enumerate(directions):
        others = [j for j in range(len(directions)) if j != i]
        everyone = sum(torch.exp(anchor @ directions[j] / temperature) for j in others)
        positives = [j for j in others if classes[j] == classes[i]]
        total -= sum(torch.log(torch.exp(anchor @ directions[j] / temperature) / everyone) for j in positives) / len(
            positives
        )
    return total / len(directions)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [0, 0, 1, 0], [5, 5, 5, 5]])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_it_is_the_sum_over_pairs(labels, temperature):
    embeddings, labels = drawn(4, 2, 6), torch.tensor(labels)
    ours = supervised_contrastive_loss(embeddings, labels, temperature=temperature)
    assert torch.allclose(ours, slow(embeddings, labels, temperature))


def test_its_gradient_is_finite_and_the_numeric_one():
    embeddings = drawn(3, 2, 4).requires_grad_()
    labels = torch.tensor([0, 1, 0])
    assert torch.autograd.gradcheck(lambda x: supervised_contrastive_loss(x, labels, temperature=0.5), embeddings)


def test_neither_length_nor_order_of_examples_matters():
    embeddings, labels, order = drawn(4, 2, 6), torch.tensor([0, 1, 1, 2]), torch.tensor([2, 0, 3, 1])
    ours = supervised_contrastive_loss(embeddings, labels, temperature=0.1)
    moved = supervised_contrastive_loss(7 * embeddings[order], labels[order], temperature=0.1)
    assert torch.allclose(ours, moved)


def test_when_all_are_one_it_is_chance():
    same = torch.ones(3, 2, 4)
    loss = supervised_contrastive_loss(same, torch.tensor([0, 1, 2]), temperature=0.07)
    assert loss.item() == pytest.approx(math.log(5))


def test_likeness_goes_from_opposite_to_equal():
    values = drawn(5, 3)
    assert mean_likeness(values, 2 * values).item() == pytest.approx(1)
    assert mean_likeness(values, -values).item() == pytest.approx(0)
    assert mean_likeness(torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])).item() == pytest.approx(0.5)
