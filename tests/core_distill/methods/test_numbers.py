"""A value out of range is refused by its own name, before anything runs."""

import math
import re

import pytest
import torch

from core_distill.recipes import find_recipe
from core_distill.recipes.condense import prepare

WRONG = {
    "bpc-wasserstein": {"inner_steps": 0, "noise": -1.0},
    "cafe": {"discrimination_weight": -1.0, "learning_rate": -1.0, "max_losses": 0},
    "dc": {"learning_rate": -0.1},
    "dcc": {"learning_rate": math.inf},
    "frepo": {"network_rate": -1.0},
    "haba": {"adversary_rate": -1.0, "adversary_momentum": -3.0, "contrast": math.nan},
    "idc": {"network_rate": -1.0, "network_momentum": 5.0, "network_weight_decay": -1.0, "outer_steps": 0},
    "ld": {"network_rate": -1.0, "base_batch_size": 0},
    "ld-ridge": {"network_rate": -1.0},
    "lorraine": {"learning_rate": -1.0, "inner_momentum": 1.0},
    "maclaurin": {"inner_momentum": 2.0, "inner_epochs": 0},
    "multilevel": {"between_classes": -1.0, "network_momentum": 1.0, "inner_schedule": (3, -1)},
    "ncfm": {"num_frequencies": 0},
    "rcig": {"network_rate": -1.0, "temperature_rate": -1.0, "inverse_steps": 0},
    "rfad": {"temperature_rate": -1.0, "num_networks": 0},
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_the_error_names_the_value_and_what_it_was(name, value, digits, tmp_path):
    recipe = find_recipe(name, images_per_class=1, data="digits", schedule="cpu").with_values({"width": 4, "depth": 1})
    wrong = WRONG[name][value]

    def first_loss():
        plan = prepare(digits.train, recipe.with_values({value: wrong}), seed=0, experts_folder=tmp_path)
        return next(plan.method.episode(plan.synthetic, torch.Generator()))

    with pytest.raises(ValueError, match=rf"^{value} .*got {re.escape(str(wrong))}"):
        first_loss()
