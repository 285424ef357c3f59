"""Compiling what repeats: traced once for a kind of network and a shape, checked against the eager result, then kept."""

import contextlib
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from core_distill.engine.forms import Fused
from core_distill.engine.kernels import REPLACED
from core_distill.engine.losses import ExampleLoss
from core_distill.engine.settings import Session
from core_distill.files import cache_folder
from core_distill.networks import FreshNetworks

Function = Callable[..., Any]
"""Tensors (in tuples) in, tensors (in tuples) out; no state."""

_TOLERANCE = {"float32": 0.02, "bfloat16": 0.2}
"""The largest relative difference (L2 norm) between a compiled and an eager result. Rounding flips ReLUs that are close to
0, which moved a gradient of float32 by 0.0007 at width 128 and one of bfloat16 by 0.014; a wrong graph is off by 1."""


_OPTIONS: dict[str, Any] = {
    "realize_reads_threshold": 10,
    "realize_acc_reads_threshold": 40,
    "realize_opcount_threshold": 100,
}
"""For a CPU: what norm and ReLU make of a map is computed again where it is read rather than written; with the compiler's
own thresholds a gradient of ConvNet-3 took a tenth longer on one thread, and as long on two."""

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_ASKED_FOR = os.environ.get(_CACHE_VARIABLE)


class Key(NamedTuple):
    """What a function depends on beside its arguments."""

    what: str
    kind: FreshNetworks
    loss: ExampleLoss
    training: bool

    @property
    def name(self) -> str:
        """The same text in every process."""
        mode = "training" if self.training else "evaluation"
        return f"{self.what} of {self.kind.name}, {self.loss.__module__}.{self.loss.__qualname__}, {mode}"


_MOST_BROKEN_FILES = 20

_kept: dict[Hashable, Function | None] = {}


def run(
    now: Session,
    key: Key | None,
    function: Function,
    eager: Function,
    work: float,
    *arguments: Any,
) -> Any:
    """`eager(*arguments)`, or the compiled form of `function`, which computes the same, once that is worth it.

    Args:
        now: the session, whose counts decide. What falls back is noted there: the run, also when it is resumed, stays
            uncompiled in it, whatever another check on another batch would find.
        key: what `function` depends on beside its arguments; None where that is not known, and nothing is compiled.
        work: operations of this call. They are counted for each key and shape; the count decides, see `Session`.
    """
    if key is None or not now.engine.compile:
        return eager(*arguments)
    flat = [value.detach() for value in tree_flatten(list(arguments))[0]]
    shapes = tuple((tuple(value.shape), value.dtype, value.device.type) for value in flat)
    device = flat[0].device.type
    name = f"{key.name}, {now.engine.precision}, {shapes}"
    if not now.worth_compiling(name, work, device):
        return eager(*arguments)
    full = (key, now.engine.precision, torch.get_num_threads(), shapes)
    if full not in _kept:
        now.tell(f"compiling {key.what}")
        _kept[full] = _checked(now, key.what, function, eager, arguments)
    fast = _kept[full]
    if fast is None:
        now.uncompiled.add(name)
        return eager(*arguments)
    return fast(*flat)


def _checked(now: Session, name: str, function: Function, eager: Function, arguments: Sequence[Any]) -> Function | None:
    """The compiled form, taking flat tensors, or None with a warning where it cannot be had or differs from `eager`."""
    leaves, layout = tree_flatten(list(arguments))
    flat = [value.detach() for value in leaves]
    start = time.monotonic()
    try:
        fast, found = _compiled_and_run(function, flat, layout)
    except ConnectionError:  # another process of the run was lost meanwhile
        raise
    except Exception as error:  # whatever a compiler may raise, the eager path is there
        reason = next(iter(str(error).splitlines()), "no reason given")
        warnings.warn(f"{name} runs uncompiled: {type(error).__name__} ({reason})", stacklevel=4)
        return None
    difference = _difference(tree_flatten(found)[0], tree_flatten(eager(*arguments))[0])
    if not difference <= _TOLERANCE[now.engine.precision]:
        warnings.warn(f"{name} runs uncompiled: its compiled form differs by {difference:.2g}", stacklevel=4)
        return None
    now.tell(f"compiled {name} in {time.monotonic() - start:.0f} s")
    return fast


def _difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """The distance of all tensors together, relative to the size of what was expected."""
    distance = sum((a.double() - b.double()).square().sum() for a, b in zip(found, expected, strict=True))
    size = sum(b.double().square().sum() for b in expected)
    return float((distance / torch.as_tensor(size).clamp(min=1e-30)) ** 0.5)


def _compiled_and_run(function: Function, flat: list[Tensor], layout: Any) -> tuple[Function, Any]:
    """The compiled form and its first result; again as long as it meets files in the cache that a killed process left."""
    for _ in range(_MOST_BROKEN_FILES):
        try:
            fast = _compile(function, flat, layout)
            return fast, fast(*flat)
        except Exception as error:
            if not _removed_broken_files(str(error)):
                raise
    raise RuntimeError(f"files in {_cache()} are broken again and again; delete it")


def _removed_broken_files(message: str) -> bool:
    """Delete the libraries of our cache that a message names."""
    named = {Path(path) for path in re.findall(r"/\S+\.so\b", message)}
    broken = [path for path in named if path.is_relative_to(_cache()) and path.exists()]
    for path in broken:
        path.unlink()
    return bool(broken)


def _cache() -> Path:
    """Where compiled code is kept over runs: where the user said before we were imported, or our own place."""
    return Path(_ASKED_FOR) if _ASKED_FOR else cache_folder("compiled")


def _compile(function: Function, flat: list[Tensor], layout: Any) -> Function:
    """Traced to plain tensor operations, gradients included, so that the compiler sees no autograd and no modules."""
    os.environ[_CACHE_VARIABLE] = str(_cache())

    on_processor = flat[0].device.type == "cpu"

    def of_flat(*values: Tensor) -> Any:
        with Fused() if on_processor else contextlib.nullcontext():
            return function(*tree_unflatten([_channels_last(value) for value in values], layout))

    # Says on machines without a card, at every start, that it looks for CUDA where there is none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    with torch.no_grad():
        graph = make_fx(of_flat, decomposition_table=REPLACED, tracing_mode="fake")(*flat)
        compiled = torch.compile(graph, dynamic=False, fullgraph=True, options=_OPTIONS if on_processor else None)

    def call(*values: Tensor) -> Any:
        with torch.no_grad():
            return compiled(*values)

    return cast(Function, call)


def _channels_last(value: Tensor) -> Tensor:
    """Images and kernels with their channels innermost: compiled convolutions take a tenth less time so."""
    return value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
