"""How many steps a row takes: what its minutes are worth, the same for every seed."""

from core_distill.benchmark import accuracy_steps
from core_distill.benchmark.accuracy import job_of, run_accuracy
from core_distill.benchmark.accuracy_row import recipe_of
from core_distill.benchmark.accuracy_steps import steps_for
from tests.core_distill.benchmark.toys import ignore, plan


def test_what_a_step_takes_is_counted_between_steps():
    assert steps_for(1.0, [10.0, 10.5, 11.0, 11.5, 12.0]) == 120
    assert steps_for(6.0, [60.0, 60.5]) == 720
    assert steps_for(1.0, [30.0]) == 2
    assert steps_for(1e-9, [1.0, 2.0]) == 1


def test_steps_are_counted_in_a_run_of_about_as_many(monkeypatch, tmp_path):
    def ended(job, recipe, data, *, window):
        looked_at.append((recipe.steps, window))
        return [10.0, 10.5], 2.0 if len(looked_at) % 2 else 0.5

    looked_at = []
    monkeypatch.setattr(accuracy_steps, "_ended", ended)
    job = job_of(plan(minutes=1.0), tmp_path, "recipe", "dm", 10, 0)
    found = accuracy_steps.count_steps(job, recipe_of(job), None)
    assert found == (120, 2.0), "the second look finds what the first one's start has trained"
    assert looked_at == [(1_000_000, 1.5), (120, 6.0)]
    assert accuracy_steps.count_steps(job, recipe_of(job), None) == found
    assert len(looked_at) == 2, "what was counted is kept"
    other = job_of(plan(minutes=1.0), tmp_path, "recipe", "dm", 10, 1)
    assert accuracy_steps.count_steps(other, recipe_of(other), None) == (120, 0.0), "of another seed, without its start"
    assert len(looked_at) == 2
    assert accuracy_steps.count_steps(other, recipe_of(other), None) == (120, 0.0)
    for what, images_per_class in (("dsa", 10), ("dm", 1)):
        apart = job_of(plan(minutes=1.0), tmp_path, "recipe", what, images_per_class, 1)
        accuracy_steps.count_steps(apart, recipe_of(apart), None)
    assert len(looked_at) == 6, "other recipes and budgets are counted"


def test_the_first_seed_of_each_row_counts_before_others_begin(tmp_path, monkeypatch):
    """Also where rows run side by side, as everything of one call of `run_jobs` may."""
    calls = []

    def at_once(do, jobs, **_):
        calls.append([(job.what, job.seed) for job in jobs if job.kind == "recipe"])
        return [
            (job.name, {**job.row, "bytes": 6_500, "images": 100, "accuracy": {"accuracies": [0.5]}}) for job in jobs
        ]

    monkeypatch.setattr("core_distill.benchmark.accuracy.run_jobs", at_once)
    run_accuracy(plan(seeds=(3, 0, 1)), tmp_path / "out", processes=2, report=ignore)
    first, others = (call for call in calls if call)
    assert first == [("dm", 3), ("dc", 3)]
    assert sorted(others) == [("dc", 0), ("dc", 1), ("dm", 0), ("dm", 1)]


def test_a_row_that_failed_is_not_tried_twice_by_one_command(tmp_path, monkeypatch):
    tried = []

    def failing(job):
        tried.append(job.name)
        return job.name, {**job.row, "failed": "out of memory"}

    monkeypatch.setattr("core_distill.benchmark.accuracy.do", failing)
    run_accuracy(plan(recipes=("dm",), baselines=(), seeds=(0, 1)), tmp_path / "out", report=ignore)
    assert tried == ["dm-ipc10-seed0", "dm-ipc10-seed1"]
