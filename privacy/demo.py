"""The privacy rows of `stillroom demo`."""

from core_distill.cli.demo_types import DemoContext, DemoRow
from core_distill.evaluation import Protocol, Score
from privacy.experiment import AuditPlan, PrivateExperiment, run_private_experiment

EPSILON, DELTA = 10.0, 1e-4


def demo(context: DemoContext) -> list[DemoRow]:
    """A private set of the demo's data by the demo's recipe from noise, and its audit, beside the same without privacy."""
    class_size = len(context.data.train) // len(context.data.train.classes)
    batch_size = min(int(context.recipe.values()["batch_size"]), class_size)
    changes = {"initialise": "noise", "steps": 150, "batch_size": batch_size, "image_learning_rate": 10}
    recipe = context.recipe.with_values(changes)
    experiment = PrivateExperiment(
        data=context.data,
        recipe=recipe,
        public_class_size=class_size,
        delta=DELTA,
        target_epsilon=EPSILON,
        seed=context.seed,
        device=context.device,
        protocol=Protocol(network=recipe.network, num_networks=2, epochs=100, augment=recipe.augment),
        audit=AuditPlan(),
    )
    results = run_private_experiment(experiment, context.out)
    accuracy = {name: str(Score(tuple(score["accuracies"]))) for name, score in results["scores"].items()}
    audits = results["audits"]
    claim = f"private set at epsilon {results['privacy']['guarantee']['epsilon']:.1f}, delta {DELTA:g}"
    limit = f"(at most {audits['private']['max_attainable']:.1f} could be shown)"
    return [
        *[
            DemoRow(f"{claim}: test accuracy", accuracy["private"], beside, accuracy[name])
            for name, beside in [
                ("without privacy", "same recipe without privacy"),
                ("random real images", "random real images"),
            ]
        ],
        DemoRow(
            f"{claim}: audit, epsilon at least",
            f"{audits['private']['lower_bound']:.2f} {limit}",
            "same recipe without privacy",
            f"{audits['without privacy']['lower_bound']:.2f}",
        ),
    ]
