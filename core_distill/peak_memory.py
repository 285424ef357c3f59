"""How much memory something takes at its peak: beside every accuracy, since methods differ in it as they do in time."""

import contextlib
import sys
from pathlib import Path
from typing import Any

import torch

from core_distill.engine.allocation import usual_allocation

_STATUS = Path("/proc/self/status")


def peak_bytes(device: torch.device) -> int:
    """The most bytes held so far. Linux counts a parent's peak in `ru_maxrss` of its child, but not in `VmHWM`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        return 1024 * listed_kibibytes(_STATUS, "VmHWM")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def lower_peak(device: torch.device) -> None:
    """Start the count at what is held now, where the system can (Linux, proc(5))."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def listed_kibibytes(listing: Path, name: str) -> int:
    """A number in one of Linux's listings, such as `VmSize` in `/proc/self/status`."""
    (line,) = [line for line in listing.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1])


class Peak:
    """The most bytes held since it was made, also over interrupted sessions: saved with the checkpoint.

    On a card, what PyTorch allocated there; else of the whole process, with its libraries and data. Memory that was freed
    before does not count where the C library gives it back (glibc), and counts elsewhere.
    """

    def __init__(self, device: torch.device) -> None:
        with usual_allocation():  # which gives it back
            lower_peak(device)
        self._device, self._before = device, 0

    @property
    def num_bytes(self) -> int:
        return max(self._before, peak_bytes(self._device))

    def state_dict(self) -> dict[str, Any]:
        return {"bytes": self.num_bytes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["bytes"]
