"""Multi-level matching: its episode against the released loop written out, and how long networks train."""

import functools

import pytest
import torch

from core_distill.matching.gradient_distances import angle_and_difference
from core_distill.matching.gradients import multilevel_distance
from core_distill.methods import MultilevelMatching
from core_distill.randomness import derive_generator
from core_distill.recipes import find_recipe, prepare
from core_distill.training import fit


@pytest.fixture
def matching(sampler, new_network):
    values = {"real": sampler, "new_network": new_network, "batch_size": 4, "outer_steps": 4}
    return functools.partial(MultilevelMatching, **values)


@pytest.fixture
def synthetic(sampler):
    return prepare(
        sampler, find_recipe("dc", images_per_class=2).with_values({"width": 4, "depth": 2}), seed=0
    ).synthetic


@pytest.mark.parametrize(
    ("schedule", "epochs"), [((3, 2, 1), (3, 2, 1)), ((2,), (2, 2, 2)), ((2, 1), (2, 1, 1)), ((0, 1), (0, 1, 1))]
)
def test_the_episode_is_the_loop_of_the_paper(matching, synthetic, schedule, epochs):
    method = matching(inner_schedule=schedule)
    ours = list(method.episode(synthetic, derive_generator(1)))
    generator = derive_generator(1)
    network = method.new_network(generator)
    for number, found in enumerate(ours):
        real = method.real.by_class(4, generator)
        wanted = multilevel_distance(network, real, synthetic.by_class(), distance=angle_and_difference)
        assert torch.equal(found, wanted)
        if number < len(epochs):
            settings = {"epochs": epochs[number], "learning_rate": 0.01, "momentum": 0.5}
            fit(network, synthetic.batch(), generator=generator, **settings)
    assert len(ours) == 4


def test_the_published_schedule(sampler, new_network):
    method = MultilevelMatching(real=sampler, new_network=new_network)
    schedule = method.inner_schedule
    assert [schedule[min(step, len(schedule) - 1)] for step in range(13)] == [50, 40, 30, 20, *[10] * 6, 5, 5, 5]


def test_an_empty_schedule_is_refused(matching):
    with pytest.raises(ValueError, match="at least one number of epochs"):
        matching(inner_schedule=())
