"""Multi-level matching: its episode against the released loop written out, and how long networks train."""

import functools

import pytest
import torch

from core_distill.augment import Dsa, no_augment
from core_distill.matching import layerwise_cosine, mean_gradient
from core_distill.matching.gradient_distances import angle_and_difference
from core_distill.matching.gradients import multilevel_distance
from core_distill.methods import MultilevelMatching
from core_distill.randomness import derive_generator
from core_distill.training import fit


@pytest.fixture
def matching(sampler, new_network):
    values = {"real": sampler, "new_network": new_network, "batch_size": 4, "outer_steps": 4}
    return functools.partial(MultilevelMatching, **values)


def squared(network, batch):
    return tuple(value.square() for value in mean_gradient(network, batch))


def naive_episode(
    method, synthetic, generator, epochs, *, augment=no_augment, learning_rate=0.01, momentum=0.5, **loss
):
    """A loss before each training, which takes the next of `epochs`, and one at the end."""
    network = method.new_network(generator)
    settings = {"learning_rate": learning_rate, "momentum": momentum, "augment": augment.per_image}
    for number in (*epochs, 0):
        seen = augment(method.real.by_class(4, generator), synthetic.by_class(), generator)
        yield multilevel_distance(network, *seen, **{"distance": angle_and_difference, **loss})
        fit(network, synthetic.batch(), epochs=number, generator=generator, **settings)


@pytest.mark.parametrize(
    ("schedule", "epochs"), [((3, 2, 1), (3, 2, 1)), ((2,), (2, 2, 2)), ((2, 1), (2, 1, 1)), ((0, 1), (0, 1, 1))]
)
def test_the_episode_is_the_loop_of_the_paper(matching, synthetic, schedule, epochs):
    method = matching(inner_schedule=schedule)
    ours = method.episode(synthetic, derive_generator(1))
    naive = naive_episode(method, synthetic, derive_generator(1), epochs)
    assert all(torch.equal(a, b) for a, b in zip(ours, naive, strict=True))


def test_every_value_reaches_the_loop(matching, synthetic):
    values = {"augment": Dsa(), "signal": squared, "distance": layerwise_cosine, "between_classes": 0.3}
    values |= {"learning_rate": 0.2}
    method = matching(inner_schedule=(2,), network_momentum=0.8, **values)
    ours = method.episode(synthetic, derive_generator(1))
    naive = naive_episode(method, synthetic, derive_generator(1), (2, 2, 2), momentum=0.8, **values)
    assert all(torch.equal(a, b) for a, b in zip(ours, naive, strict=True))


def test_the_published_schedule(sampler, new_network):
    method = MultilevelMatching(real=sampler, new_network=new_network)
    schedule = method.inner_schedule
    assert [schedule[min(step, len(schedule) - 1)] for step in range(13)] == [50, 40, 30, 20, *[10] * 6, 5, 5, 5]


def test_an_empty_schedule_is_refused(matching):
    with pytest.raises(ValueError, match="at least one number of epochs"):
        matching(inner_schedule=())
