"""DCC: its episode against the paper's loop written out, its warm-up over networks and losses, and counting on."""

import functools

import pytest
import torch

from core_distill.augment import Dsa
from core_distill.matching import gradient_distance, layerwise_cosine, mean_gradient
from core_distill.matching.gradient_distances import angle_and_difference
from core_distill.matching.gradients import class_sum_distance
from core_distill.methods import ClassSummedMatching
from core_distill.randomness import derive_generator
from core_distill.training import fit


@pytest.fixture
def matching(sampler, new_network):
    values = {"real": sampler, "new_network": new_network, "batch_size": 4, "outer_steps": 3, "inner_epochs": 2}
    return functools.partial(ClassSummedMatching, **values)


def tripled(network, batch):
    return tuple(3 * value for value in mean_gradient(network, batch))


PAPER = {"signal": mean_gradient, "distance": layerwise_cosine, "learning_rate": 0.01}
OTHER = {"signal": tripled, "distance": angle_and_difference, "learning_rate": 0.2}


def naive_episode(method, synthetic, generator, losses, *, signal, distance, learning_rate):
    """The same draws, with the loss of each step given."""
    network = method.new_network(generator)
    for number, loss in enumerate(losses):
        real, own = method.augment(method.real.by_class(4, generator), synthetic.by_class(), generator)
        yield loss(network, real, own, signal=signal, distance=distance)
        if number + 1 < len(losses):
            settings = {"epochs": 2, "learning_rate": learning_rate, "augment": method.augment.per_image}
            fit(network, synthetic.batch(), generator=generator, **settings)


@pytest.mark.parametrize(
    ("changed", "values"), [({}, PAPER), ({"augment": Dsa(), **OTHER}, OTHER)], ids=["dcc", "dsac with other values"]
)
def test_early_losses_of_early_networks_go_class_by_class(matching, synthetic, changed, values):
    method = matching(**changed, outer_warmup=1, inner_warmup=2)
    early = [gradient_distance, gradient_distance, class_sum_distance]
    for number, losses in enumerate([early, [class_sum_distance] * 3]):
        ours = list(method.episode(synthetic, derive_generator(number)))
        naive = list(naive_episode(method, synthetic, derive_generator(number), losses, **values))
        assert len(ours) == 3
        for found, wanted in zip(ours, naive, strict=True):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("warmup", [{"outer_warmup": 0}, {"inner_warmup": 0}])
def test_no_warm_up_where_either_is_none(matching, synthetic, warmup):
    method = matching(**{"outer_warmup": 5, **warmup})
    ours = list(method.episode(synthetic, derive_generator(0)))
    naive = list(naive_episode(method, synthetic, derive_generator(0), [class_sum_distance] * 3, **PAPER))
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
