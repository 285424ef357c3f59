"""Synthetic sets beside FedAvg on the same clients: accuracy, bytes and seconds of each round."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from core_distill.data import ClassSampler
from core_distill.evaluation import Protocol
from core_distill.recipes import Recipe
from federated.ledger import ByteLedger, MeteredGrid
from federated.strategy import SyntheticSetStrategy, accuracy_on
from federated.wire import Agreement


@dataclass(frozen=True, kw_only=True)
class FedAvgPlan:
    """FedAvg (arXiv 1602.05629): rounds at the server, and SGD at the clients.

    Of six settings (5 or 10 local epochs; learning rates 0.02, 0.05, 0.1) these gave the best first round on the
    validation part of digits, on two partitions of four clients, alpha 0.5; from the third round on all six were alike.
    """

    rounds: int = 5
    local_epochs: int = 10
    learning_rate: float = 0.02
    momentum: float = 0.9
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.local_epochs < 1:
            raise ValueError(f"rounds and local_epochs must be at least 1, got {self.rounds} and {self.local_epochs}")


def server_protocol(recipe: Recipe, *, epochs: int = 300) -> Protocol:
    """The global network is the recipe's, trained with its augmentation by the standard protocol, untuned."""
    return Protocol(network=recipe.network, num_networks=1, epochs=epochs, augment=recipe.augment)


@dataclass(frozen=True, kw_only=True)
class RoundScore:
    """Test accuracy (0 to 1) after a round, and what that round alone cost: bytes down and up over all clients, and
    seconds to the end of the server's training; the first round's include waiting for the clients to start."""

    server_round: int
    accuracy: float
    down: int
    up: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The rounds of both, why replies were dropped (by round, then node), and every client's bytes."""

    synthetic: tuple[RoundScore, ...]
    fedavg: tuple[RoundScore, ...]
    dropped: Mapping[int, Mapping[int, str]]
    synthetic_ledger: ByteLedger
    fedavg_ledger: ByteLedger

    def as_json(self) -> dict[str, object]:
        """JSON values only."""
        return {
            "synthetic": [asdict(score) for score in self.synthetic],
            "fedavg": [asdict(score) for score in self.fedavg],
            "dropped": {
                str(number): {str(node): why for node, why in nodes.items()} for number, nodes in self.dropped.items()
            },
            "synthetic_ledger": [asdict(row) for row in self.synthetic_ledger.rows],
            "fedavg_ledger": [asdict(row) for row in self.fedavg_ledger.rows],
        }


def compare(
    grid: Grid,
    test: ClassSampler,
    recipe: Recipe,
    agreement: Agreement,
    *,
    protocol: Protocol,
    seed: int,
    num_clients: int,
    rounds: int = 1,
    fedavg: FedAvgPlan | None = None,
) -> Comparison:
    """Run `rounds` of `SyntheticSetStrategy`, then FedAvg, with all clients of `grid`; the body of a `ServerApp`.

    Both start from the same untrained network and are tested on `test` after every round; nothing is chosen by it.
    Raises `RecordError` where no client sends a usable set.
    """
    fedavg = fedavg or FedAvgPlan()
    ours = SyntheticSetStrategy(
        recipe, agreement, protocol=protocol, seed=seed, min_available=num_clients, device=str(test.device)
    )
    initial = ours.initial_arrays()
    synthetic, synthetic_ledger = _scores(ours, grid, initial, rounds, ConfigRecord(), accuracy_on(test, protocol))
    averaging = FedAvg(fraction_evaluate=0.0, min_train_nodes=num_clients, min_available_nodes=num_clients)
    settings = ConfigRecord(
        {
            "seed": seed,
            "local-epochs": fedavg.local_epochs,
            "learning-rate": fedavg.learning_rate,
            "momentum": fedavg.momentum,
            "batch-size": fedavg.batch_size,
        }
    )
    averaged, fedavg_ledger = _scores(averaging, grid, initial, fedavg.rounds, settings, accuracy_on(test, protocol))
    return Comparison(
        synthetic=synthetic,
        fedavg=averaged,
        dropped=ours.dropped,
        synthetic_ledger=synthetic_ledger,
        fedavg_ledger=fedavg_ledger,
    )


def _scores(
    strategy: Strategy,
    grid: Grid,
    initial: ArrayRecord,
    rounds: int,
    settings: ConfigRecord,
    evaluate: Callable[[int, ArrayRecord], MetricRecord],
) -> tuple[tuple[RoundScore, ...], ByteLedger]:
    ledger = ByteLedger()
    scores: list[RoundScore] = []
    mark = [time.perf_counter()]

    def score(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        seconds = time.perf_counter() - mark[0]
        metrics = evaluate(server_round, arrays)
        scores.append(
            RoundScore(
                server_round=server_round,
                accuracy=float(str(metrics["accuracy"])),
                down=ledger.down(server_round),
                up=ledger.up(server_round),
                seconds=seconds,
            )
        )
        mark[0] = time.perf_counter()
        return metrics

    strategy.start(MeteredGrid(grid, ledger), initial, num_rounds=rounds, train_config=settings, evaluate_fn=score)
    return tuple(scores[1:]), ledger
