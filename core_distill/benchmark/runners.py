"""Who is timed: the naive twin, the library on each precision, and reference codes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from core_distill.benchmark.inputs import Inputs
from core_distill.benchmark.peer import open_peer
from core_distill.benchmark.unit import Timed, Work
from core_distill.engine import Engine, Precision, Session, running_on
from core_distill.engine.allocation import usual_allocation

NAIVE = "naive"
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def runner_names(work: Work, precisions: Sequence[str], peers: Mapping[str, Path]) -> list[str]:
    """Who runs `work`: the twin, the precisions, and those peers that have it."""
    return [NAIVE, *precisions, *(name for name, folder in peers.items() if work.name in open_peer(folder).work)]


def precision_of(runner: str) -> Precision:
    """What a runner computes in; whoever is not the library uses float32."""
    return runner if runner in PRECISIONS else "float32"


def prepare(runner: str, work: Work, inputs: Inputs, *, compiled: bool, peers: Mapping[str, Path]) -> tuple[Timed, ...]:
    """What `runner` is timed on; the library as in a long run, which has compiled what repeats.

    Whoever is not the library has the C library's usual way with freed memory, as it would have alone.
    """
    if runner in peers:
        return tuple(map(_as_usual, open_peer(peers[runner]).work[work.name](inputs)))
    if runner == NAIVE:
        return tuple(map(_as_usual, work.naive(inputs)))
    long = Session(Engine(precision=precision_of(runner), compile=compiled), long=True)
    with running_on(long):
        return tuple(_on(long, part) for part in work.fast(inputs))


def _on(session: Session, part: Timed) -> Timed:
    def run() -> None:
        with running_on(session):
            part.run()

    return part._replace(run=run)


def _as_usual(part: Timed) -> Timed:
    def run() -> None:
        with usual_allocation():
            part.run()

    return part._replace(run=run)
