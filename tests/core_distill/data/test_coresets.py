"""Selection baselines against naive twins, and the byte budget."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core_distill.data import (
    ClassSampler,
    coresets,
    embed,
    forgetting_coreset,
    herding_coreset,
    images_for_bytes,
    k_centre_coreset,
    kmeans_coreset,
    random_coreset,
)
from core_distill.engine import Engine, running_on
from core_distill.networks import ConvNet, network_factory
from core_distill.randomness import derive_generator


def sampler_of(labels, *, width=3, seed=0):
    images = torch.rand(len(labels), width, generator=derive_generator(seed))
    return ClassSampler(images, torch.tensor(labels), num_classes=9, mean=[0.0] * width, std=[1.0] * width)


UNBALANCED = sampler_of([0] * 5 + [2] * 9 + [3] * 4)


def naive_herding(features, count):
    """iCaRL's Algorithm 4 as it is written: one candidate at a time."""
    mean, chosen = features.mean(0), []
    for _ in range(count):
        best, best_distance = None, None
        for candidate in range(len(features)):
            if candidate not in chosen:
                distance = (mean - features[[*chosen, candidate]].mean(0)).norm()
                if best is None or distance < best_distance:
                    best, best_distance = candidate, distance
        chosen.append(best)
    return chosen


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 6))
def test_herding_is_the_naive_loop(seed, count, width):
    features = torch.rand(18, width, generator=derive_generator(seed), dtype=torch.float64)
    expected = []
    for number in (0, 2, 3):
        members = UNBALANCED.of_class(number)
        expected += members[naive_herding(features[members], count)].tolist()
    assert herding_coreset(UNBALANCED, count, features).tolist() == expected


def test_herding_of_everything_is_a_permutation():
    chosen = herding_coreset(sampler_of([0] * 6 + [1] * 6), 6, torch.ones(12, 2))
    assert sorted(chosen.tolist()) == list(range(12))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(0, 100))
def test_random_is_balanced_and_distinct(count, seed):
    chosen = random_coreset(UNBALANCED, count, derive_generator(seed))
    assert UNBALANCED.labels[chosen].tolist() == [0] * count + [2] * count + [3] * count
    assert len(set(chosen.tolist())) == 3 * count
    assert torch.equal(chosen, random_coreset(UNBALANCED, count, derive_generator(seed)))


def test_random_follows_its_generator():
    first, second = (random_coreset(UNBALANCED, 3, derive_generator(seed)).tolist() for seed in (0, 1))
    assert first != second


def test_kmeans_takes_the_middle_of_each_cluster():
    offsets = torch.tensor([[-1.0, 0.0], [0.1, 0.0], [1.0, 0.0]])
    clusters = torch.cat([torch.tensor([x, y]) + offsets for x, y in ((0.0, 0.0), (50.0, 0.0), (0.0, 50.0))])
    features = torch.cat([clusters, clusters + 500])
    chosen = kmeans_coreset(sampler_of([0] * 9 + [1] * 9), 3, features, derive_generator(0))
    assert sorted(chosen.tolist()) == [1, 4, 7, 10, 13, 16]
    assert chosen[:3].max() < 9


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 100))
def test_kmeans_is_balanced_distinct_and_seeded(count, seed):
    features = torch.rand(18, 3, generator=derive_generator(seed))
    chosen = kmeans_coreset(UNBALANCED, count, features, derive_generator(seed))
    assert UNBALANCED.labels[chosen].tolist() == [0] * count + [2] * count + [3] * count
    assert len(set(chosen.tolist())) == 3 * count
    assert torch.equal(chosen, kmeans_coreset(UNBALANCED, count, features, derive_generator(seed)))


def test_kmeans_never_takes_an_image_twice():
    # Three images are the same, so centres coincide and one image is the nearest to several of them.
    data, features = sampler_of([0] * 4), torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    with pytest.warns(UserWarning, match="distinct clusters"):
        chosen = kmeans_coreset(data, 4, features, derive_generator(0))
    assert sorted(chosen.tolist()) == [0, 1, 2, 3]


def test_too_small_a_class_is_named():
    features = torch.rand(18, 2)
    for choose in (
        lambda count: random_coreset(UNBALANCED, count, derive_generator(0)),
        lambda count: herding_coreset(UNBALANCED, count, features),
        lambda count: kmeans_coreset(UNBALANCED, count, features, derive_generator(0)),
    ):
        with pytest.raises(ValueError, match="class 3 has 4 images, 5 were asked for"):
            choose(5)
        with pytest.raises(ValueError, match="at least 1, got 0"):
            choose(0)


def test_features_have_a_row_an_image():
    for features in (torch.rand(17, 2), torch.rand(18)):
        with pytest.raises(ValueError, match=r"features need the shape \(18, d\)"):
            herding_coreset(UNBALANCED, 1, features)
        with pytest.raises(ValueError, match=r"features need the shape \(18, d\)"):
            kmeans_coreset(UNBALANCED, 1, features, derive_generator(0))


class Small(nn.Module):
    """A network whose features depend on whether it is being trained."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def features(self, images):
        return self.norm(images)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("chunk", [1, 7, 256])
def test_embed_is_features_in_evaluation_mode(training, chunk, monkeypatch):
    monkeypatch.setattr(coresets, "_CHUNK", chunk)
    network = Small().train(training)
    network.norm.running_mean.fill_(0.5)
    found = embed(network, UNBALANCED)
    expected = (UNBALANCED.images - 0.5) / (1 + network.norm.eps) ** 0.5
    assert torch.allclose(found, expected)
    assert not found.requires_grad
    assert network.training == training
    assert network.norm.num_batches_tracked == 0


def test_embed_puts_the_mode_back_after_an_error(monkeypatch):
    monkeypatch.setattr(coresets, "_CHUNK", 0)
    network = Small().train()
    with pytest.raises(ValueError, match="at least 1 example"):
        embed(network, UNBALANCED)
    assert network.training


@pytest.fixture
def embedding_network(digits):
    return network_factory(functools.partial(ConvNet, width=16, depth=2), digits.train.image_shape, 10)(
        derive_generator(0)
    )


def test_embed_runs_on_the_surrounding_engine(digits, embedding_network):
    plain = embed(embedding_network, digits.train)
    with running_on(Engine(precision="bfloat16")):
        rounded = embed(embedding_network, digits.train)
    assert rounded.dtype == plain.dtype == torch.float32
    assert not torch.equal(rounded, plain)
    torch.testing.assert_close(rounded, plain, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("piece", [0, 100])
def test_choices_are_those_of_a_single_forward_pass(piece, digits, embedding_network):
    train = digits.train
    with torch.no_grad():
        whole = embedding_network.features(train.take(torch.arange(len(train))).images)
    with running_on(Engine(piece=piece)):
        found = embed(embedding_network, train)
    for count in (1, 10):
        assert torch.equal(herding_coreset(train, count, found), herding_coreset(train, count, whole))
        ours, theirs = (kmeans_coreset(train, count, values, derive_generator(1)) for values in (found, whole))
        assert torch.equal(ours, theirs)


def test_images_for_bytes():
    images = torch.zeros(40, 3, 4, 5, dtype=torch.uint8)
    data = ClassSampler(images, torch.arange(40) % 2, num_classes=5, mean=[0.0] * 3, std=[1.0] * 3)
    assert images_for_bytes(10 * 2 * 61, data) == 10
    assert images_for_bytes(10 * 2 * 61 - 1, data) == 9
    assert images_for_bytes(0, data) == 1
    assert images_for_bytes(10**9, data) == 20
    assert images_for_bytes(10**9, UNBALANCED) == 4


def test_k_centre_takes_the_middle_and_then_the_farthest():
    """On a line: the mean of 0, 1, 2, 3, 10 is 3.2; from 3 the farthest is 10, from both 0, then 1 and 2 tie at 1."""
    images = torch.tensor([0.0, 1, 2, 3, 10, 5, 5.5]).view(-1, 1, 1, 1)
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    data = ClassSampler(images, labels, num_classes=2, mean=[0.0], std=[1.0])
    features = data.images.flatten(1)
    chosen = k_centre_coreset(data, 2, features)
    assert features[chosen].flatten().tolist()[:2] == [3.0, 10.0]
    (first,) = [k_centre_coreset(data.subset(torch.arange(5)), 5, features[:5])]
    assert features[first].flatten().tolist()[:3] == [3.0, 10.0, 0.0]
    assert len(set(first.tolist())) == 5


def test_what_is_forgotten_most_is_taken_and_what_nobody_looked_at_last():
    data = ClassSampler(torch.zeros(6, 1, 2, 2), torch.tensor([0, 0, 0, 1, 1, 1]), num_classes=2, mean=[0.0], std=[1.0])
    counts = torch.tensor([0, 3, -1, 2, 2, -1])
    for seed in range(5):
        chosen = forgetting_coreset(data, 2, counts, derive_generator(seed)).tolist()
        assert chosen[:2] == [1, 0]
        assert sorted(chosen[2:]) == [3, 4]
    with pytest.raises(ValueError, match="a count an image"):
        forgetting_coreset(data, 1, counts[:3], derive_generator(0))
