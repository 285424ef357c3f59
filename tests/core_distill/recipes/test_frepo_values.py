"""FRePo's values, as its released code has them, and what the CPU schedule changes."""

from core_distill.methods import KernelRegression
from core_distill.recipes import find_recipe


def test_values_of_frepo():
    recipe = find_recipe("frepo", images_per_class=10)
    assert recipe.method.func is KernelRegression
    expected = {
        "batch_size": 1024,
        "decay": "cosine",
        "image_learning_rate": 3e-4,
        "initialise": "real",
        "label_scale": 1.0,
        "labels": "soft",
        "max_age": 100,
        "momentum": 0.9,
        "network_rate": 3e-4,
        "optimizer": "adam",
        "pool_size": 10,
        "regularisation": 1e-6,
        "steps": 500_000,
        "widening": 2,
        "width": 128,
    }
    assert {key: recipe.values()[key] for key in expected} == expected
    assert "Adam for LAMB" in recipe.source


def test_the_cpu_schedule_changes_sizes_and_rates_and_says_so():
    paper, cpu = (find_recipe("frepo", images_per_class=10, schedule=name) for name in ("paper", "cpu"))
    changed = {key for key, value in cpu.values().items() if value != paper.values()[key]}
    assert changed == {"steps", "batch_size", "widening", "image_learning_rate", "label_learning_rate"}
    assert "CPU schedule: 1,000 steps, batch 256, width 128 in all blocks, rates 0.03" in cpu.source


def test_what_can_be_set_from_the_command_line():
    values = {"label_scale": "3", "pool_size": "4", "max_age": "20", "regularisation": "1e-4", "labels": "hard"}
    changed = find_recipe("frepo", images_per_class=1, schedule="cpu").with_values(values).values()
    assert {name: changed[name] for name in values} == {
        "label_scale": 3.0,
        "pool_size": 4,
        "max_age": 20,
        "regularisation": 1e-4,
        "labels": "hard",
    }


def test_targets_of_a_hundred_classes_start_smaller():
    scales = {
        data: find_recipe("frepo", images_per_class=1, data=data).values()["label_scale"]
        for data in ("cifar10", "cifar100")
    }
    assert scales == {"cifar10": 1.0, "cifar100": 0.316}
