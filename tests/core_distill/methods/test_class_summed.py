"""DCC: its episode against the paper's loop written out, its warm-up over networks and losses, and counting on."""

import functools

import pytest
import torch

from core_distill.augment import Dsa, no_augment
from core_distill.matching import gradient_distance
from core_distill.matching.gradients import class_sum_distance
from core_distill.methods import ClassSummedMatching
from core_distill.randomness import derive_generator
from core_distill.synthetic import HardLabels, Pixels, SyntheticSet
from core_distill.training import fit


@pytest.fixture
def matching(sampler, new_network):
    values = {"real": sampler, "new_network": new_network, "batch_size": 4, "outer_steps": 3, "inner_steps": 2}
    return functools.partial(ClassSummedMatching, **values)


@pytest.fixture
def synthetic(sampler):
    batch = sampler.by_class(2, derive_generator(3))
    return SyntheticSet(
        Pixels(batch.images.flatten(0, 1)),
        HardLabels(batch.labels.flatten(), 3),
        classes=[0, 1, 2],
        num_classes=3,
        images_per_class=2,
        mean=[0.5],
        std=[0.25],
    )


def naive_episode(method, synthetic, generator, losses):
    """The same draws, with the loss of each step given."""
    network = method.new_network(generator)
    for number, loss in enumerate(losses):
        real = method.real.by_class(4, generator)
        yield loss(network, *method.augment(real, synthetic.by_class(), generator))
        if number + 1 < len(losses):
            settings = {"epochs": 2, "learning_rate": 0.01, "augment": method.augment.per_image}
            fit(network, synthetic.batch(), generator=generator, **settings)


@pytest.mark.parametrize("augment", [no_augment, Dsa()], ids=["dcc", "dsac"])
def test_early_losses_of_early_networks_go_class_by_class(matching, synthetic, augment):
    method = matching(augment=augment, outer_warmup=1, inner_warmup=2)
    early = [gradient_distance, gradient_distance, class_sum_distance]
    for number, losses in enumerate([early, [class_sum_distance] * 3]):
        ours = list(method.episode(synthetic, derive_generator(number)))
        naive = list(naive_episode(method, synthetic, derive_generator(number), losses))
        assert len(ours) == 3
        for found, wanted in zip(ours, naive, strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("warmup", [{"outer_warmup": 0}, {"inner_warmup": 0}])
def test_no_warm_up_where_either_is_none(matching, synthetic, warmup):
    method = matching(**{"outer_warmup": 5, **warmup})
    ours = list(method.episode(synthetic, derive_generator(0)))
    naive = list(naive_episode(method, synthetic, derive_generator(0), [class_sum_distance] * 3))
    assert all(torch.equal(a, b) for a, b in zip(ours, naive, strict=True))


def test_a_restored_method_counts_on(matching, synthetic):
    first = matching(outer_warmup=2)
    list(first.episode(synthetic, derive_generator(0)))
    second = matching(outer_warmup=2)
    second.load_state_dict(first.state_dict())
    assert first.state_dict() == {"networks": 1}
    for number in (1, 2):
        ours, theirs = (list(m.episode(synthetic, derive_generator(number))) for m in (first, second))
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    fresh = list(matching(outer_warmup=2).episode(synthetic, derive_generator(2)))
    assert not torch.equal(fresh[0], ours[0])
