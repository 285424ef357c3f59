"""Federated learning with synthetic sets on Flower: clients distil and send a set, the server trains on the union.

Importing this package loads neither Flower nor Ray; the first use of a name does.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from federated.environment import set_defaults

if TYPE_CHECKING:
    from federated.client_app import LoadPartition, make_client_app
    from federated.comparison import Comparison, FedAvgPlan, RoundScore, compare, server_protocol
    from federated.ledger import ByteLedger, LedgerRow, MeteredGrid
    from federated.partition import dirichlet_partition, iid_partition, pathological_partition
    from federated.pooling import pool
    from federated.simulate import run_simulation
    from federated.strategy import DroppedReplyWarning, SyntheticSetStrategy, accuracy_on
    from federated.wire import Agreement, RecordError, from_record, to_record

_HOMES = {
    "Agreement": "wire",
    "ByteLedger": "ledger",
    "Comparison": "comparison",
    "DroppedReplyWarning": "strategy",
    "FedAvgPlan": "comparison",
    "LedgerRow": "ledger",
    "LoadPartition": "client_app",
    "MeteredGrid": "ledger",
    "RecordError": "wire",
    "RoundScore": "comparison",
    "SyntheticSetStrategy": "strategy",
    "accuracy_on": "strategy",
    "compare": "comparison",
    "dirichlet_partition": "partition",
    "from_record": "wire",
    "iid_partition": "partition",
    "make_client_app": "client_app",
    "pathological_partition": "partition",
    "pool": "pooling",
    "run_simulation": "simulate",
    "server_protocol": "comparison",
    "to_record": "wire",
}

__all__ = [
    "Agreement",
    "ByteLedger",
    "Comparison",
    "DroppedReplyWarning",
    "FedAvgPlan",
    "LedgerRow",
    "LoadPartition",
    "MeteredGrid",
    "RecordError",
    "RoundScore",
    "SyntheticSetStrategy",
    "accuracy_on",
    "compare",
    "dirichlet_partition",
    "from_record",
    "iid_partition",
    "make_client_app",
    "pathological_partition",
    "pool",
    "run_simulation",
    "server_protocol",
    "to_record",
]

# Flower reads whether it may phone home when it is first imported, so this comes before any of our modules do.
set_defaults()


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
