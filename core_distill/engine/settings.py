"""Precision, compilation and piece sizes of a run, and the session that counts its work; read by nothing but the engine."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from core_distill.engine.allocation import keep_freed_memory

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How the networks of a run are computed; the results agree to the tolerance of the precision.

    Args:
        precision: `bfloat16` runs convolutions and matrix products in it; parameters, distances and sums stay as they are.
        compile: whether work that repeats often enough is compiled. When is decided by counts of operations, never by a
            clock, so that equal runs take equal paths.
        piece: images a pass takes at once, of all classes or networks that share it; 0 takes what
            bounded memory allows.

    Raises `ValueError` for other values.
    """

    precision: Precision = "float32"
    compile: bool = True
    piece: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be float32 or bfloat16, got {self.precision!r}")
        if self.piece < 0:
            raise ValueError(f"piece must be 0 (fitting) or a number of images, got {self.piece}")

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which networks run."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def describe(self) -> dict[str, object]:
        """JSON values for the record of a run."""
        return {"precision": self.precision, "compile": self.compile, "piece": self.piece}


DEFAULT_ENGINE = Engine()
"""float32, compiling what repeats."""


def fastest_precision(device: str) -> Precision:
    """`bfloat16` where the processor or card computes in it, else `float32`."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if _processor_flags() & {"avx512_bf16", "amx_bf16"} else "float32"


@functools.cache
def _processor_flags() -> frozenset[str]:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())


Tell = Callable[[str], None]
"""Hears what the engine is doing that takes a while, such as compiling."""


def ignore(what: str) -> None:
    """A `Tell` that does not care."""


_WORTH_COMPILING = {"cpu": 2e12, "cuda": 2e14}
"""Operations of one kind and shape that run eagerly before it is compiled: 10 s at 200 GFLOP/s on a
CPU, where compiling took 2 to 30 s, so that short runs pay nothing. For a card it is a guess: 10 s at 20 TFLOP/s."""


def worth_compiling(device: str) -> float:
    """Operations after which what repeats is compiled on a kind of device."""
    return _WORTH_COMPILING.get(device, _WORTH_COMPILING["cpu"])


@dataclass
class Session:
    """A run on an engine: how much of each kind of work it has done, which decides what is compiled, and what is never.

    Its state belongs in the checkpoint of a run, so that a resumed one takes the paths of an uninterrupted one.

    Args:
        long: everything counts as repeated often, as late in a long run.
    """

    engine: Engine
    tell: Tell = ignore
    long: bool = False
    work: dict[str, float] = field(default_factory=dict)
    uncompiled: set[str] = field(default_factory=set)

    def worth_compiling(self, name: str, operations: float, device: str) -> bool:
        """Whether what is called `name` has run often enough; if not, counts this run of so many operations.

        Never for what is in `uncompiled`: its compiled form could not be had, or differed, when it was tried.
        """
        if not self.engine.compile or name in self.uncompiled:
            return False
        done = self.work.get(name, 0.0)
        if self.long or done >= worth_compiling(device):
            return True
        self.work[name] = done + operations
        return False

    def state_dict(self) -> dict[str, Any]:
        return {"work": dict(self.work), "uncompiled": sorted(self.uncompiled)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.work = dict(state_dict["work"])
        self.uncompiled = set(state_dict.get("uncompiled", ()))  # the first versions did not write it
        if self.uncompiled:
            self.tell("some work stays uncompiled, as before this run was stopped")


_current: ContextVar[Session | None] = ContextVar("session", default=None)


def chosen(engine: Engine | None) -> Engine:
    """`engine`; where that is None, the one of the `running_on` around this call, or `DEFAULT_ENGINE` outside."""
    around = _current.get()
    return engine or (around.engine if around else DEFAULT_ENGINE)


_plain = Session(Engine(compile=False))


def current() -> Session:
    """The session in use; outside `running_on` a plain one: float32, nothing compiled."""
    return _current.get() or _plain


@contextmanager
def running_on(engine: Engine | Session, *, tell: Tell = ignore) -> Iterator[Session]:
    """Run everything inside on `engine`, as a session of its own; or go on with a session, in another thread for example."""
    keep_freed_memory()
    token = _current.set(Session(engine, tell) if isinstance(engine, Engine) else engine)
    try:
        yield current()
    finally:
        _current.reset(token)
