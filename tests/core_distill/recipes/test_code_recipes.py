"""Recipes whose images are codes, latents or coefficients: what they store, what `--set` finds, what they say of sources."""

import pytest
import torch

from core_distill.recipes import find_recipe, prepare
from core_distill.synthetic.latents import Latents
from core_distill.synthetic.random_basis import RandomBasis
from core_distill.synthetic.shared_decoders import SharedDecoders
from core_distill.synthetic.storage import decode_artefact, encode_artefact

KINDS = {"it-gan": Latents, "kfs": SharedDecoders, "pranc": RandomBasis}
TOY = {"width": 4, "depth": 2, "batch_size": 4, "fit_steps": 2, "generator_steps": 2, "inversion_steps": 2}


def toy(name, images_per_class=3, **values):
    recipe = find_recipe(name, images_per_class=images_per_class, data="digits", schedule="cpu")
    return recipe.with_values({key: value for key, value in (TOY | values).items() if key in recipe.values()})


@pytest.mark.parametrize("schedule", ["paper", "cpu"])
@pytest.mark.parametrize("data", ["digits", "fashion-mnist", "cifar10"])
@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_names_its_images_and_admits_what_is_untuned(name, data, schedule):
    recipe = find_recipe(name, images_per_class=10, data=data, schedule=schedule)
    assert recipe.images.func.__self__ is KINDS[name]
    assert recipe.describe()["method"] == "DistributionMatching"
    assert "ours" in recipe.source or "untuned" in recipe.source or "here" in recipe.source


@pytest.mark.parametrize("name", KINDS)
def test_more_images_are_learned_from_than_the_budget_has(name, sampler):
    synthetic = prepare(sampler, toy(name), seed=0).synthetic
    assert isinstance(synthetic.images, KINDS[name])
    assert len(synthetic) > 3 * 3


@pytest.mark.parametrize("name", ["kfs", "pranc"])
def test_a_file_takes_no_more_than_pixels_do(name, sampler):
    """Both store a label for each slot beside, one byte."""

    def tensor_bytes(recipe):
        synthetic = prepare(sampler, recipe, seed=0).synthetic
        return decode_artefact(encode_artefact(synthetic, metadata={})).tensor_bytes - synthetic.num_slots

    assert tensor_bytes(toy(name)) <= tensor_bytes(toy("dm"))


@pytest.mark.parametrize(
    ("name", "values", "slots"),
    [("pranc", {"compression": 4}, 12), ("it-gan", {"most_latents": 1}, 3), ("it-gan", {"latent": 21}, 9)],
)
def test_values_change_what_is_made(name, values, slots, sampler):
    assert prepare(sampler, toy(name, **values), seed=0).synthetic.images_per_class == slots


def test_a_decoder_more_is_a_view_more(sampler):
    assert prepare(sampler, toy("kfs", decoders=2), seed=0).synthetic.views == 2


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_makes_the_same_bits(name, sampler):
    first, again, other = (prepare(sampler, toy(name), seed=seed).synthetic.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(again[key], value) for key, value in first.items())
    assert not all(torch.equal(other[key], value) for key, value in first.items())


def test_runs_of_other_seeds_share_a_generator_in_a_folder(sampler, tmp_path):
    for seed in (0, 1):
        prepare(sampler, toy("it-gan"), seed=seed, experts_folder=tmp_path)
    assert len(list(tmp_path.glob("generator-*"))) == 1
