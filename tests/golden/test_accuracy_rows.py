"""Rows of the committed accuracy benchmarks are of today's recipes.

Where our value changed, the row is measured anew; where a published one was corrected, the row is.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from core_distill.benchmark.accuracy import AccuracyPlan, job_of
from core_distill.benchmark.accuracy_row import differs, recipe_of
from core_distill.identity import differences, told

ROWS = [
    pytest.param(results["shared"], row, id=f"{path.stem}-{name}")
    for path in sorted(Path(__file__).parent.glob("accuracy-*.json"))
    for results in [json.loads(path.read_text())]
    for name, row in results["rows"].items()
    if row["kind"] == "recipe"
]


@pytest.mark.parametrize(("shared", "row"), ROWS)
def test_a_row_differs_from_the_published_values_as_its_recipe_does(shared, row):
    plan = AccuracyPlan(**{name: shared[name] for name in ("data", "schedule", "changes")})
    job = job_of(plan, Path(), "recipe", row["what"], row["images_per_class"], row["seed"])
    today = differs(recipe_of(job), dataclasses.replace(job, schedule="paper", changes={}))
    stale = differences(row["differs"], today)
    stale.pop("steps", None)  # a machine counts those that its minutes are worth
    assert not stale, f"{row['what']} has changed since it was measured, [ours, published]: {told(stale)}"
