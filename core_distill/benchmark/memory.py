"""Peak memory of a unit of work: each runner in a fresh process, since a peak never goes down again."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from core_distill.benchmark.inputs import Size, make_inputs
from core_distill.benchmark.runners import PRECISIONS, prepare
from core_distill.benchmark.work import WORK
from core_distill.peak_memory import listed_kibibytes, lower_peak, peak_bytes

_PROGRAM = "from core_distill.benchmark.memory import answer; answer()"
_STATUS = Path("/proc/self/status")
_FREE_SHARE = 0.8
"""The part of the free memory that a measurement may take before it is stopped, for the sake of everything else."""


def peak_memory(
    runner: str, work: str, size: Size, device: str, *, compiled: bool, peers: Mapping[str, Path]
) -> int | None:
    """Bytes that one run of the work takes at its peak, above those of the imports; None where the memory is not enough.

    Data, networks and compiled code count, but not what it took to make them. On a card, what PyTorch allocated there.
    Raises `RuntimeError` with the last line of the error where the run failed for another reason.
    """
    told = {
        "runner": runner,
        "work": work,
        "size": asdict(size),
        "device": device,
        "compiled": compiled,
        "peers": {name: str(folder) for name, folder in peers.items()},
        "threads": torch.get_num_threads(),
    }
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM], input=json.dumps(told), capture_output=True, text=True, check=False
    )
    if process.returncode < 0:
        return None
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{runner} could not run {work} in a process of its own: {last}")
    found: int | None = json.loads(process.stdout.splitlines()[-1])["peak_bytes"]
    return found


def answer() -> None:
    """What the fresh process does: read what to run from standard input, run it, write its peak."""
    told: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(told["threads"])
    peers = {name: Path(folder) for name, folder in told["peers"].items()}
    device = torch.device(told["device"])
    if device.type == "cpu":
        _stop_before_swapping()
    else:
        torch.empty(1, device=device)  # the counts of a card start with its first tensor
    lower_peak(device)
    before = peak_bytes(device)
    after: int | None
    try:
        inputs = make_inputs(Size(**told["size"]), device)
        parts = prepare(told["runner"], WORK[told["work"]], inputs, compiled=told["compiled"], peers=peers)
        for _ in range(2 if told["compiled"] and told["runner"] in PRECISIONS else 1):
            lower_peak(device)
            for part in parts:
                part.run()
        after = peak_bytes(device) - before
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        after = None
    sys.stdout.write(json.dumps({"peak_bytes": after}) + "\n")


def _stop_before_swapping() -> None:
    """Let allocations fail here rather than have the system end a process of its choice."""
    free = Path("/proc/meminfo")
    if _STATUS.exists() and free.exists():
        held, available = listed_kibibytes(_STATUS, "VmSize"), listed_kibibytes(free, "MemAvailable")
        import resource

        limit = 1024 * int(held + _FREE_SHARE * available)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
