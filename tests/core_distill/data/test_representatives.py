"""Representatives of each class: k-means against scikit-learn and a slow twin, and when a new choice is made."""

import pytest
import torch
from sklearn.cluster import KMeans

from core_distill.data import ClassSampler
from core_distill.data.representatives import RepresentativeSampler, nearest_to_centres
from core_distill.engine import features
from core_distill.randomness import derive_generator


@pytest.fixture
def choose(sampler, new_network):
    return lambda **values: RepresentativeSampler(sampler, new_network, **values)


@pytest.fixture
def networks(new_network):
    """A factory that counts."""

    def make(generator):
        make.count += 1
        return new_network(generator)

    make.count = 0
    return make


def crowds(rows, num_clusters, size, generator):
    """Well separated crowds of points, `(rows, num_clusters * size, 3)`, the first points one of each crowd."""
    centres = 100 * torch.randn(rows, 1, num_clusters, 3, generator=generator, dtype=torch.float64)
    points = centres + torch.randn(rows, size, num_clusters, 3, generator=generator, dtype=torch.float64)
    return points.flatten(1, 2)


def test_one_of_each_crowd_the_nearest_to_its_mean():
    points = crowds(2, 5, 7, derive_generator(0))
    chosen = nearest_to_centres(points, 5)
    for row, found in zip(points, chosen, strict=True):
        for number in range(5):
            own = torch.arange(number, len(row), 5)
            distances = (row[own] - row[own].mean(0)).norm(dim=1)
            assert found[number] == own[distances.argmin()]


def test_clusters_are_those_of_scikit_learn_from_the_same_start():
    points = torch.randn(3, 40, 4, generator=derive_generator(1), dtype=torch.float64)
    chosen = nearest_to_centres(points, 6)
    for row, found in zip(points, chosen, strict=True):
        reference = KMeans(6, init=row[:6].numpy(), n_init=1, max_iter=20, tol=0).fit(row.numpy())
        assert reference.n_iter_ < 20
        expected = []
        for number, centre in enumerate(torch.as_tensor(reference.cluster_centers_)):
            own = (torch.as_tensor(reference.labels_) == number).nonzero().flatten()
            expected.append(int(own[(row[own] - centre).norm(dim=1).argmin()]))
        assert found.tolist() == expected


def test_an_empty_cluster_takes_what_is_nearest_to_where_it_was():
    assert nearest_to_centres(torch.zeros(1, 3, 2), 3).tolist() == [[0, 0, 0]]


def test_as_many_clusters_as_points_are_all_points():
    points = torch.randn(2, 5, 3, generator=derive_generator(2))
    assert nearest_to_centres(points, 5).tolist() == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize("candidates", [0, 8])
def test_a_batch_is_what_a_slow_twin_chooses(candidates, choose, sampler, new_network):
    batch = choose(candidates=candidates).by_class(4, derive_generator(3))
    assert batch.images.shape == (3, 4, 1, 8, 8)
    generator = derive_generator(3)
    positions = sampler.draws.by_class(candidates or 12, generator)
    network = new_network(generator)
    for number, own in enumerate(positions):
        found = nearest_to_centres(features(network, sampler.take(own).images)[None], 4)[0]
        assert torch.equal(batch.images[number], sampler.take(own[found]).images)
        assert (batch.labels[number] == number).all()
        assert len({image.numpy().tobytes() for image in batch.images[number]}) == 4


def test_a_choice_lasts_as_many_draws_as_told(sampler, networks):
    real, generator = RepresentativeSampler(sampler, networks, refresh=3), derive_generator(4)
    draws = [real.by_class(4, generator).images for _ in range(7)]
    assert networks.count == 3
    for number, images in enumerate(draws):
        assert torch.equal(images, draws[3 * (number // 3)])
    assert not torch.equal(draws[0], draws[3])


def test_another_size_or_another_episode_chooses_anew(sampler, networks):
    real, generator = RepresentativeSampler(sampler, networks), derive_generator(5)
    for size in (4, 4, 2):
        assert real.by_class(size, generator).images.shape[1] == size
    assert networks.count == 2
    real.by_class(2, derive_generator(5))
    assert networks.count == 3


def test_an_episode_draws_the_same_whatever_was_before(choose):
    used, fresh = choose(), choose()
    used.by_class(4, derive_generator(6))
    generators = derive_generator(7), derive_generator(7)
    for _ in range(12):
        ours, theirs = (real.by_class(4, generator) for real, generator in zip((used, fresh), generators, strict=True))
        assert torch.equal(ours.images, theirs.images)


def test_flat_batches_and_classes_are_those_of_the_sampler(choose, sampler):
    real = choose()
    ours, theirs = real.batch(5, derive_generator(8)), sampler.batch(5, derive_generator(8))
    assert torch.equal(ours.images, theirs.images)
    assert torch.equal(real.classes, sampler.classes)
    assert real.num_classes == 3


def test_a_small_class_repeats_and_others_do_not_notice(new_network):
    images = torch.randint(0, 256, (11, 1, 8, 8), dtype=torch.uint8, generator=derive_generator(9))
    labels = torch.tensor([0] * 9 + [2] * 2)
    real = RepresentativeSampler(ClassSampler(images, labels, num_classes=3, mean=[0.5], std=[0.2]), new_network)
    batch = real.by_class(4, derive_generator(10))
    assert batch.labels.tolist() == [[0] * 4, [2] * 4]
    assert len({image.numpy().tobytes() for image in batch.images[1]}) == 2


def test_global_randomness_is_not_touched(choose):
    before = torch.get_rng_state()
    choose().by_class(4, derive_generator(11))
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_numbers_are_refused(choose):
    for values in ({"refresh": 0}, {"candidates": -1}):
        with pytest.raises(ValueError, match="refresh must be at least 1 and candidates at least 0"):
            choose(**values)
    with pytest.raises(ValueError, match="at least 1 example, got size 0"):
        choose().by_class(0, derive_generator(12))
