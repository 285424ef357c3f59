"""A plan of the accuracy benchmark that takes moments."""

from core_distill.benchmark.accuracy import AccuracyPlan

TINY = {"width": "4", "depth": "2", "batch_size": "4", "outer_steps": "1"}


def plan(**values):
    settings = {
        "data": "digits",
        "recipes": ("dm", "dc"),
        "minutes": 0.02,
        "networks": 2,
        "epochs": 2,
        "baselines": ("random",),
        "changes": TINY,
    }
    return AccuracyPlan(**{**settings, **values})


def ignore(results):
    pass
