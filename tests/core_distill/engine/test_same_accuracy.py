"""The fast path is as accurate as the plain one: digits, three seeds, everything compiled and in bfloat16."""

import math
import statistics

import pytest

from core_distill.engine import Engine, settings
from core_distill.evaluation import Protocol, evaluate
from core_distill.recipes import condense, find_recipe

SEEDS = 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dc", "dm", "frepo", "mtt", "sldd"])
def test_fast_and_plain_sets_score_within_one_standard_error(name, digits, monkeypatch):
    recipe = find_recipe(name, images_per_class=1, data="digits", schedule="cpu").with_values(
        {"width": 32, "steps": 60}
    )
    protocol = Protocol(network=recipe.network, num_networks=3, epochs=100, augment=recipe.augment)

    def scores(engine):
        found = []
        for seed in range(SEEDS):
            synthetic = condense(digits.train, recipe, seed=seed, engine=engine)
            found.append(evaluate(synthetic.batch(), digits.validation, protocol, seed=seed, engine=engine).mean)
        return found

    plain = scores(Engine(compile=False))
    monkeypatch.setattr(settings, "_WORTH_COMPILING", {"cpu": 0.0})
    fast = scores(Engine(precision="bfloat16"))
    error = math.sqrt((statistics.variance(plain) + statistics.variance(fast)) / SEEDS)
    print(f"{name}: plain {plain}, fast {fast}, standard error of the difference {error:.4f}")
    assert abs(statistics.fmean(plain) - statistics.fmean(fast)) <= error
