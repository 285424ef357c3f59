"""The library's promise: any method, any parametrisation, any label mode, run, saved, loaded and resumed alike."""

import itertools

import pytest
import torch

from core_distill.checkpoint import Checkpoint
from core_distill.distill import distill
from core_distill.recipes import LABEL_MODES, PARAMETRISATIONS, RECIPES, condense, find_recipe, prepare
from core_distill.synthetic.storage import decode_artefact, encode_artefact

REFUSED = {("dm", "soft"): "no gradient to labels"}
"""Combinations that make no sense, with what the error says: DM compares features and never sees a label."""

SMALL = {
    "outer_steps": 1,
    "inner_steps": 2,
    "num_experts": 2,
    "training_epochs": 2,
    "max_start": 1,
    "expert_epochs": 1,
    "pool_size": 1,
}
"""Toy values of what some recipes have and others have not."""

TABLE = sorted(itertools.product(RECIPES, PARAMETRISATIONS, LABEL_MODES))


def toy(name, images, labels):
    recipe = find_recipe(name, images_per_class=2, data="digits", schedule="cpu")
    values = {"steps": 3, "batch_size": 4, "width": 4, "depth": 2, "images": images, "labels": labels}
    known = recipe.values()
    return recipe.with_values(values | {key: value for key, value in SMALL.items() if key in known})


@pytest.mark.parametrize(("name", "images", "labels"), TABLE)
class TestCombination:
    @pytest.fixture(autouse=True)
    def skip_refused(self, name, labels, request):
        if (name, labels) in REFUSED and "refused" not in request.node.name:
            pytest.skip(REFUSED[name, labels])

    def test_refused_with_the_reason_or_not_at_all(self, name, images, labels, sampler):
        if (name, labels) not in REFUSED:
            pytest.skip("not refused")
        with pytest.raises(ValueError, match=REFUSED[name, labels]):
            condense(sampler, toy(name, images, labels), seed=0)

    def test_moves_all_that_is_learned_by_finite_gradients(self, name, images, labels, sampler):
        plan = prepare(sampler, toy(name, images, labels), seed=0)
        before = {key: value.detach().clone() for key, value in plan.synthetic.named_parameters()}
        gradients = []

        def look(progress):
            gradients.extend(value.grad.clone() for value in progress.synthetic.parameters())

        distill(plan.method, plan.synthetic, plan.optimizer, steps=3, seed=0, observers=[look])
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        assert all(not torch.equal(value, before[key]) for key, value in plan.synthetic.named_parameters())

    def test_leaves_the_networks_gradients_alone(self, name, images, labels, sampler):
        plan = prepare(sampler, toy(name, images, labels), seed=0)
        networks = []

        def recorded(generator, make=plan.method.new_network):
            networks.append(make(generator))
            return networks[-1]

        object.__setattr__(plan.method, "new_network", recorded)
        distill(plan.method, plan.synthetic, plan.optimizer, steps=3, seed=0)
        assert networks
        assert all(value.grad is None for network in networks for value in network.parameters())

    def test_same_seed_same_bits_also_through_a_file_and_a_restart(self, name, images, labels, sampler, tmp_path):
        recipe = toy(name, images, labels)
        whole = condense(sampler, recipe, seed=1)
        path = tmp_path / "checkpoint.safetensors"

        def kill(progress):
            if progress.step == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            condense(
                sampler, recipe, seed=1, checkpoint=Checkpoint(path, identity={}, every_seconds=0), observers=[kill]
            )
        resumed = condense(sampler, recipe, seed=1, checkpoint=Checkpoint(path, identity={}, every_seconds=0))
        data = encode_artefact(whole, metadata={}, precision="float32")
        assert encode_artefact(resumed, metadata={}, precision="float32") == data
        read = decode_artefact(data).synthetic
        assert read.state_dict().keys() == whole.state_dict().keys()
        assert all(torch.equal(read.state_dict()[key], value) for key, value in whole.state_dict().items())
        for ours, theirs in zip(read.by_class()[:2], whole.by_class()[:2], strict=True):
            assert torch.equal(ours, theirs)
