"""The federated part of `stillroom demo`: four clients, one round, beside FedAvg on the same clients."""

from typing import TYPE_CHECKING

from core_distill.cli.demo_types import DemoContext, DemoRow

if TYPE_CHECKING:
    from federated.comparison import RoundScore

_CLIENTS = 4
_ALPHA = 0.5


def demo(context: DemoContext) -> list[DemoRow]:
    """One round of synthetic sets from four uneven clients beside FedAvg; writes results.json."""
    from core_distill.run_folder import RunFolder
    from federated import FedAvgPlan, dirichlet_partition, run_simulation

    data, recipe = context.data, context.recipe.with_values({"steps": 50})
    parts = dirichlet_partition(data.train, _CLIENTS, alpha=_ALPHA, seed=context.seed)
    fedavg = FedAvgPlan(rounds=3)
    result = run_simulation(data.to("cpu"), recipe, parts, seed=context.seed, fedavg=fedavg)
    identity = {"data": data.digest, "recipe": recipe.describe(), "clients": _CLIENTS, "seed": context.seed}
    RunFolder(context.out, identity=identity).write_results(result.as_json())
    ours = result.synthetic[0]
    return [
        DemoRow(
            f"{_CLIENTS} clients, 1 round of synthetic sets ({recipe.name})",
            _told(ours.accuracy, result.synthetic),
            f"FedAvg, {rounds} round{'s' if rounds > 1 else ''}",
            _told(result.fedavg[rounds - 1].accuracy, result.fedavg[:rounds]),
        )
        for rounds in (1, len(result.fedavg))
    ]


def _told(accuracy: float, scores: "tuple[RoundScore, ...]") -> str:
    up, down = sum(score.up for score in scores), sum(score.down for score in scores)
    return f"{100 * accuracy:.1f} %, {up / 1024:.0f} KiB up, {down / 1024:.0f} KiB down"
