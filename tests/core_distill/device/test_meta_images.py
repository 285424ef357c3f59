"""Every parametrisation stays on the card: decoded, felt and updated there, whatever the method."""

import pytest
import torch

from core_distill.randomness import derive_generator
from core_distill.recipes import IMAGE_STARTS, find_recipe, new_optimizer, prepare

SMALL = {"width": 4, "depth": 2, "bases": 4, "hallucinators": 2, "generator_steps": 2, "inversion_steps": 2}


@pytest.mark.parametrize("name", IMAGE_STARTS)
def test_a_parametrisation_stays_on_the_card(name, sampler, card, moved):
    recipe = find_recipe("dm", images_per_class=2, data="digits", schedule="cpu").with_values({"images": name})
    known = recipe.values()
    recipe = recipe.with_values({key: value for key, value in SMALL.items() if key in known})
    synthetic = prepare(sampler, recipe, seed=0).synthetic
    with card():
        synthetic = moved(synthetic)
        optimizer = new_optimizer(synthetic, recipe)
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for batch in (synthetic.by_class(derive_generator(0, device="cuda")), synthetic.batch(2)):
            assert batch.images.is_cuda
            batch.images.square().sum().backward(inputs=learned)
            assert all(parameter.grad.is_cuda for parameter in learned)
            optimizer.step()
        assert torch.Size(batch.images.shape[1:]) == sampler.image_shape
