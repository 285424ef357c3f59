"""Baselines at equal bytes: how many real images a budget buys, which, and by what."""

import functools

import pytest
import torch
import torch.nn.functional as F

from core_distill.data import (
    ClassSampler,
    forgetting_coreset,
    herding_coreset,
    k_centre_coreset,
    kmeans_coreset,
    random_coreset,
)
from core_distill.evaluation import BASELINES, check_baselines, select_baselines
from core_distill.evaluation.baselines import _Candidates
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator

SMALL = functools.partial(ConvNet, width=4, depth=2)
CLASS = 3 * (64 + 1)
"""What one image of each of three classes costs: 8 x 8 bytes and a byte for the label."""


def select(train, budget, *, seed=0, names=BASELINES):
    return list(select_baselines(train, budget_bytes=budget, network=SMALL, seed=seed, names=names, embedding_epochs=1))


@pytest.mark.parametrize(
    ("budget", "count"), [(1, 1), (CLASS - 1, 1), (CLASS, 1), (2 * CLASS - 1, 1), (2 * CLASS, 2), (5 * CLASS + 7, 5)]
)
def test_a_budget_buys_as_many_images_a_class_as_fit(budget, count, sampler):
    for selection in select(sampler, budget):
        assert selection.images_per_class == count
        assert selection.batch.labels.tolist() == [0] * count + [1] * count + [2] * count
        assert selection.num_bytes == count * CLASS
        assert selection.num_bytes <= max(budget, CLASS)


def test_never_more_than_the_smallest_class_has(sampler):
    uneven = sampler.subset(torch.tensor([0, 1, 2, 3, 12, 13, 24, 25, 26]))
    assert [selection.images_per_class for selection in select(uneven, 10**6)] == [2] * len(BASELINES)


def test_colour_images_cost_three_times_as_much():
    images = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    train = ClassSampler(images, torch.arange(20) % 2, num_classes=2, mean=[0.5] * 3, std=[0.2] * 3)
    (selection,) = select(train, 2 * 2 * 193, names=("random",))
    assert (selection.images_per_class, selection.num_bytes) == (2, 4 * 193)


@pytest.mark.parametrize("name", BASELINES)
def test_only_real_images_of_their_own_class_and_none_twice(name, sampler):
    (selection,) = select(sampler, 4 * CLASS, names=(name,))
    everything = sampler.take(torch.arange(36))
    places = [
        (everything.images == image).flatten(1).all(1).nonzero().flatten().tolist() for image in selection.batch.images
    ]
    assert all(len(found) == 1 for found in places)
    assert len({found[0] for found in places}) == 12
    assert torch.equal(everything.labels[[found[0] for found in places]], selection.batch.labels)


def test_they_choose_differently_and_each_by_the_seed(sampler):
    first, again, other = (select(sampler, 2 * CLASS, seed=seed) for seed in (0, 0, 1))
    assert [selection.name for selection in first] == list(BASELINES)
    for one, same, another in zip(first, again, other, strict=True):
        assert torch.equal(one.batch.images, same.batch.images)
        assert not torch.equal(one.batch.images, another.batch.images)
    assert not torch.equal(first[0].batch.images, first[1].batch.images)


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_is_the_same_alone_and_among_others(name, sampler):
    """A resumed run asks only for those that are missing."""
    (alone,) = select(sampler, 3 * CLASS, names=(name,))
    among = next(selection for selection in select(sampler, 3 * CLASS) if selection.name == name)
    assert torch.equal(alone.batch.images, among.batch.images)


def test_each_name_is_the_selection_it_says(sampler):
    candidates = _Candidates(train=sampler, architecture=SMALL, seed=0, num_images=10_000, epochs=1)
    features, by = candidates.features, functools.partial(derive_generator, 0, "baseline")
    expected = {
        "random": random_coreset(sampler, 2, by("random")),
        "herding": herding_coreset(sampler, 2, features),
        "kmeans": kmeans_coreset(sampler, 2, features, by("kmeans")),
        "k-centre": k_centre_coreset(sampler, 2, features),
        "forgetting": forgetting_coreset(sampler, 2, candidates.forgotten(), by("forgetting")),
    }
    for selection in select(sampler, 2 * CLASS):
        assert torch.equal(selection.batch.images, sampler.take(expected[selection.name]).images)


def test_features_are_those_of_a_network_trained_on_some_of_the_images(sampler):
    generator = derive_generator(0, "embedding")
    network = network_factory(SMALL, sampler.image_shape, sampler.num_classes)(generator)
    batch = sampler.batch(20, generator)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(network(batch.images), batch.labels).backward()
        optimizer.step()
    candidates = _Candidates(train=sampler, architecture=SMALL, seed=0, num_images=20, epochs=3)
    torch.testing.assert_close(candidates.features, network.features(sampler.take(torch.arange(36)).images))


def test_nothing_asked_for_costs_nothing(sampler):
    assert select(sampler, CLASS, names=()) == []


def test_unknown_names_are_told_with_the_known(sampler):
    for call in (check_baselines, lambda names: select(sampler, CLASS, names=names)):
        with pytest.raises(
            ValueError, match="unknown baseline best, worst; known: random, herding, kmeans, k-centre, forgetting"
        ):
            call(("worst", "random", "best"))


def test_global_randomness_is_not_touched(sampler):
    before = torch.get_rng_state()
    select(sampler, 2 * CLASS)
    assert torch.equal(torch.get_rng_state(), before)


def test_forgetting_counts_what_was_right_and_then_wrong(sampler, monkeypatch):
    """Each epoch this network says another class: images of class 0 are right at first and again at last, those of class 1
    never, those of class 2 once."""
    said = iter([0, 2, 0])
    monkeypatch.setattr("core_distill.evaluation.baselines.fit", lambda *_, **__: None)

    def answer(network, images):
        return torch.nn.functional.one_hot(torch.full((len(images),), next(said)), 3).float()

    monkeypatch.setattr("core_distill.evaluation.baselines.logits", answer)
    candidates = _Candidates(train=sampler, architecture=SMALL, seed=0, num_images=30, epochs=3)
    counts = candidates.forgotten()
    assert sorted(set(counts.tolist())) == [-1, 1, 3]
    assert (counts == -1).sum() == 6
    assert set(counts[sampler.labels == 0].tolist()) <= {1, -1}
    assert set(counts[sampler.labels == 1].tolist()) <= {3, -1}
    assert set(counts[sampler.labels == 2].tolist()) <= {1, -1}
