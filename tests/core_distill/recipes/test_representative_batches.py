"""How a recipe chooses its real batches, and DREAM's values, which are IDC's but for that choice."""

import pytest
import torch

from core_distill.data import ClassSampler
from core_distill.data.representatives import RepresentativeSampler
from core_distill.methods import RealTrainedMatching
from core_distill.randomness import derive_generator
from core_distill.recipes import RECIPES, condense, find_recipe, prepare
from core_distill.sharding import Processes, shard

SMALL = {"width": 4, "depth": 2, "batch_size": 4}


def test_batches_are_uniform_unless_a_recipe_says_so(sampler):
    for name in RECIPES:
        recipe = find_recipe(name, images_per_class=2)
        assert recipe.values()["batches"] == ("representative" if name == "dream" else "uniform")
        assert (recipe.values()["initialise"] == "clustered") == (name == "dream")
    plan = prepare(sampler, find_recipe("dc", images_per_class=2).with_values(SMALL), seed=0)
    assert isinstance(plan.method.real, ClassSampler)


def test_a_recipe_can_have_representatives(sampler):
    recipe = find_recipe("dm", images_per_class=2).with_values({"batches": "representative", "refresh": "3", **SMALL})
    assert {"batches": "representative", "refresh": 3, "candidates": 512}.items() <= recipe.values().items()
    assert recipe.describe()["values"]["batches"] == "representative"
    real = prepare(sampler, recipe, seed=0).method.real
    assert isinstance(real, RepresentativeSampler)
    assert torch.equal(
        real.by_class(4, derive_generator(0)).images,
        RepresentativeSampler(sampler, real._new_network, refresh=3, candidates=512)
        .by_class(4, derive_generator(0))
        .images,
    )
    back = recipe.with_values({"batches": "uniform"})
    assert "refresh" not in back.values()
    with pytest.raises(ValueError, match="batches must be one of representative, uniform, got 'mine'"):
        recipe.with_values({"batches": "mine"})


def test_the_same_start_leads_elsewhere(sampler):
    recipe = find_recipe("dc", images_per_class=2).with_values({**SMALL, "steps": 2, "outer_steps": 2})
    ours, theirs = (
        condense(sampler, recipe.with_values({"batches": batches}), seed=0).images.pixels
        for batches in ("representative", "uniform")
    )
    assert not torch.equal(ours, theirs)


def test_several_processes_refuse_them(sampler):
    plan = prepare(
        sampler, find_recipe("dm", images_per_class=2).with_values({**SMALL, "batches": "representative"}), seed=0
    )
    with pytest.raises(
        ValueError, match=r"only a ClassSampler, which batches=uniform draws .* got RepresentativeSampler"
    ):
        shard(plan.method, plan.optimizer, Processes(0, 2))


@pytest.mark.parametrize("data", ["cifar10", "fashion-mnist", "digits", "mine"])
def test_published_values_of_dream(data):
    recipe, idc = (find_recipe(name, images_per_class=10, data=data) for name in ("dream", "idc"))
    assert recipe.method.func is RealTrainedMatching
    expected = {
        "batches": "representative",
        "batch_size": 128,
        "network_batch_size": 128,
        "candidates": 0,
        "refresh": 10,
        "initialise": "clustered",
    }
    assert recipe.values() == idc.values() | expected
    assert recipe.describe()["functions"] == idc.describe()["functions"]
    assert "Departs" in recipe.source


def test_the_cpu_schedule_of_dream_has_fewer_steps_than_that_of_idc():
    recipe, idc = (find_recipe(name, images_per_class=10, schedule="cpu") for name in ("dream", "idc"))
    changed = {"batches": "representative", "candidates": 256, "initialise": "clustered", "refresh": 10, "steps": 240}
    assert recipe.values() == idc.values() | changed
    assert "240 steps" in recipe.source
    assert "untuned" in recipe.source
