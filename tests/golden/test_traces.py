"""Losses of short runs, written down once: a change that moves them has changed a method.

`python tests/golden/test_traces.py` writes `traces.json` anew; say in the commit why it had to move.
"""

import json
from pathlib import Path

import pytest
import torch

from core_distill.data import load_data
from core_distill.distill import distill
from core_distill.recipes import RECIPES, find_recipe, prepare

TRACES = Path(__file__).parent / "traces.json"


@pytest.fixture
def one_thread():
    """Sums in one order: it-gan's generator is trained by many steps, which magnify their rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trace(name):
    recipe = find_recipe(name, images_per_class=2, data="digits", schedule="cpu")
    values = {"steps": 6, "batch_size": 16, "width": 8, "outer_steps": 3}
    values["inner_epochs" if "outer_steps" in recipe.values() else "inner_steps"] = 2
    recipe = recipe.with_values({key: value for key, value in values.items() if key in recipe.values()})
    losses = []
    plan = prepare(load_data("digits").train, recipe, seed=0)
    distill(
        plan.method, plan.synthetic, plan.optimizer, steps=6, seed=0, observers=[lambda p: losses.append(p.loss.item())]
    )
    return losses


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_losses_are_what_they_were(name):
    assert trace(name) == pytest.approx(json.loads(TRACES.read_text())[name], rel=1e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    TRACES.write_text(json.dumps({name: trace(name) for name in sorted(RECIPES)}, indent=2) + "\n")
