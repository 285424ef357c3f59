"""Continual learning on Avalanche with distilled replay: a buffer of condensed images, and a fair comparison around it.

Importing this package does not load Avalanche; the first use of a name does.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from continual.buffer import DistilledBuffer
    from continual.memory import ClassMemory
    from continual.metrics import average_accuracy, forgetting, forgetting_from_best
    from continual.run import StreamProtocol, StreamResult, compare_replay, run_stream
    from continual.strategies import STRATEGIES, find_strategy
    from continual.stream import class_stream

_HOMES = {
    "STRATEGIES": "strategies",
    "ClassMemory": "memory",
    "DistilledBuffer": "buffer",
    "StreamProtocol": "run",
    "StreamResult": "run",
    "average_accuracy": "metrics",
    "class_stream": "stream",
    "compare_replay": "run",
    "find_strategy": "strategies",
    "forgetting": "metrics",
    "forgetting_from_best": "metrics",
    "run_stream": "run",
}

__all__ = [
    "STRATEGIES",
    "ClassMemory",
    "DistilledBuffer",
    "StreamProtocol",
    "StreamResult",
    "average_accuracy",
    "class_stream",
    "compare_replay",
    "find_strategy",
    "forgetting",
    "forgetting_from_best",
    "run_stream",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        # Avalanche imports the solvers of GEM whether it is used or not, and they warn where none is installed.
        warnings.filterwarnings("ignore", message="no QP solver found", category=UserWarning)
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
