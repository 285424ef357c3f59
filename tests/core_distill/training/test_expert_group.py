"""Experts trained at once, as on a card: each as it would be alone, resumed, counted, and only where it can be done."""

import dataclasses
import json

import pytest
import torch

from core_distill.augment import Dsa, no_augment
from core_distill.data import MappedImages
from core_distill.networks import kind_of
from core_distill.randomness import derive_generator
from core_distill.training import StackedSgd, expert_group
from core_distill.training.expert_group import ExpertGroup, groups_of, train_group
from core_distill.training.expert_settings import ExpertTraining
from core_distill.training.expert_training import train_experts
from core_distill.training.experts import ExpertError

TOY = ExpertTraining(num_experts=5, training_epochs=2, training_rate=0.1, training_momentum=0.9, training_batch_size=10)


@pytest.fixture
def stackable(monkeypatch):
    """Networks are stacked on the CPU too, as many as `at_once`."""

    def allow(at_once=expert_group.AT_ONCE):
        monkeypatch.setattr(expert_group, "can_stack", lambda networks: kind_of(networks[0]) is not None)
        monkeypatch.setattr(expert_group, "AT_ONCE", at_once)

    return allow


@pytest.fixture
def train(sampler, new_network):
    def run(training=TOY, *, network=new_network, **options):
        return train_experts(sampler, network, training, augment=Dsa(), **options)

    return run


class Watch:
    """Progress that is written down, and stopped where it gets to `stop`."""

    def __init__(self, stop=None):
        self.told, self.total, self.stop = [], None, stop

    def __call__(self, what, total):
        self.total = total
        return self

    def __enter__(self):
        return self.advance

    def __exit__(self, *_):
        return None

    def advance(self, done, note):
        self.told.append(done)
        if done == self.stop:
            raise KeyboardInterrupt


def assert_alike(first, second, new_network, *, training=TOY):
    for expert in range(training.num_experts):
        for epoch in range(training.training_epochs + 1):
            pair = [each.load(new_network(derive_generator(0)), expert, epoch) for each in (first, second)]
            for a, b in zip(*(network.parameters() for network in pair), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("at_once", "images"), [(10, 0), (2, 0), (3, 25)])
def test_an_expert_in_a_group_is_the_one_trained_alone(at_once, images, train, stackable, new_network, monkeypatch):
    training = dataclasses.replace(TOY, training_images=images)
    alone = train(training)
    stackable(at_once)
    sizes = []
    step = StackedSgd.step
    monkeypatch.setattr(StackedSgd, "step", lambda self, batches: sizes.append(len(batches)) or step(self, batches))
    assert_alike(train(training), alone, new_network, training=training)
    assert max(sizes) == min(at_once, 5)


def test_on_a_cpu_each_is_trained_alone(train, monkeypatch):
    sizes = []
    step = StackedSgd.step
    monkeypatch.setattr(StackedSgd, "step", lambda self, batches: sizes.append(len(batches)) or step(self, batches))
    train()
    assert set(sizes) == {1}


def test_the_group_changes_no_random_number(sampler, new_network, monkeypatch):
    seen = []

    class Looking:
        def per_image(self, images, generator):
            seen.append((images, torch.rand(3, generator=generator)))
            return images

    for numbers in ([2], [0, 2, 4]):
        ExpertGroup(sampler, new_network, TOY, numbers, augment=Looking()).train_epoch()
    alone, together = seen[:4], seen[4:]
    assert len(together) == 3 * len(alone)
    for one, other in zip(alone, together[1::3], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(together[0][1], together[1][1])


def test_images_on_disk_too(sampler, new_network):
    on_disk = type(sampler)(
        MappedImages(sampler.images.numpy()), sampler.labels, num_classes=3, mean=sampler.mean, std=sampler.std
    )
    groups = [ExpertGroup(real, new_network, TOY, [0, 1], augment=no_augment) for real in (sampler, on_disk)]
    for group in groups:
        group.train_epoch()
    for a, b in zip(*(group.parameters().values() for group in groups), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("stop", [2, 8])
def test_a_killed_group_goes_on(stop, train, stackable, new_network, tmp_path):
    stackable(2)
    whole = train(folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(folder=tmp_path / "killed", show=Watch(stop))
    assert len(list((tmp_path / "killed").glob("*.safetensors"))) == (0 if stop == 2 else 2)
    again = Watch()
    resumed = train(folder=tmp_path / "killed", show=again)
    assert again.told == ([2, 4, 6, 8, 9, 10] if stop == 2 else [6, 8, 9, 10])
    assert_alike(resumed, whole, new_network)


def test_a_gap_is_filled(train, stackable, new_network, tmp_path):
    stackable()
    whole = train(folder=tmp_path)
    for number in (1, 3):
        (tmp_path / f"expert-{number:03}.safetensors").unlink()
    filled = Watch()
    assert_alike(train(folder=tmp_path, show=filled), whole, new_network)
    assert (filled.told, filled.total) == ([8, 10], 10)


def test_progress_counts_the_epochs_of_all(train, stackable):
    stackable(2)
    watch = Watch()
    train(show=watch)
    assert (watch.told, watch.total) == ([2, 4, 6, 8, 9, 10], 10)


def test_a_groups_time_is_shared(train, stackable, tmp_path):
    stackable()
    found = train(folder=tmp_path)
    seconds = json.loads((tmp_path / "seconds.json").read_text())
    assert len(seconds) == 5
    assert len(set(seconds.values())) == 1
    assert found.seconds == pytest.approx(sum(seconds.values()))


def test_an_expert_that_diverges_is_named_and_those_before_it_stay(train, stackable, tmp_path, monkeypatch):
    stackable()

    def spoilt(*args, **settings):
        trained = train_group(*args, **settings)
        next(iter(trained[2].values()))[1:] = float("nan")
        return trained

    monkeypatch.setattr("core_distill.training.expert_training.train_group", spoilt)
    with pytest.raises(ExpertError, match="expert 2 is not finite after epoch 1"):
        train(folder=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_groups_are_as_large_as_a_card_and_the_host_allow(stackable, new_network, monkeypatch):
    example = new_network(derive_generator(0))
    assert groups_of([3, 5, 6], example, TOY) == [[3], [5], [6]]
    stackable(2)
    assert groups_of([3, 5, 6], example, TOY) == [[3, 5], [6]]
    stackable()
    assert groups_of(list(range(23)), example, TOY) == [list(range(10)), list(range(10, 20)), [20, 21, 22]]
    bytes_of_one = 3 * sum(value.nbytes for value in example.parameters())
    for room, size in ((3 * bytes_of_one, 3), (3 * bytes_of_one - 1, 2), (1, 1)):
        monkeypatch.setattr(expert_group, "TRAJECTORY_BYTES", room)
        assert {len(numbers) for numbers in groups_of(list(range(6)), example, TOY)} == {size}


def test_networks_of_no_known_kind_are_trained_alone(train, stackable, new_network, monkeypatch):
    stackable()
    sizes = []
    step = StackedSgd.step
    monkeypatch.setattr(StackedSgd, "step", lambda self, batches: sizes.append(len(batches)) or step(self, batches))

    def own(generator):
        return torch.nn.Sequential(new_network(generator))

    train(network=own)
    assert set(sizes) == {1}
