"""One table of label modes and one of parametrisations: what a recipe starts is what a file holds."""

import torch

from core_distill.recipes import LABEL_MODES
from core_distill.recipes import PARAMETRISATIONS as OF_RECIPES
from core_distill.synthetic.kinds import LABELS, PARAMETRISATIONS

TARGETS = torch.tensor([0, 1, 1])


def test_a_recipe_starts_what_a_file_calls_by_the_same_name():
    assert sorted(LABEL_MODES) == ["hard", "soft"]
    for name, start in LABEL_MODES.items():
        assert type(start(TARGETS, 2)) is LABELS[name].kind
    assert OF_RECIPES is PARAMETRISATIONS


def test_every_kind_is_made_again_from_its_config():
    started = [start(TARGETS, 2) for start in LABEL_MODES.values()]
    started += [kind(torch.ones(3, 1, 4, 4)) for kind in PARAMETRISATIONS.values()]
    for module in started:
        again = type(module).from_config(**module.config())
        assert {name: value.shape for name, value in again.state_dict().items()} == {
            name: value.shape for name, value in module.state_dict().items()
        }
