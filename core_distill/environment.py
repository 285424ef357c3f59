"""What a number was measured on: versions and hardware, for results and artefacts."""

import importlib.metadata
import os
import platform
from pathlib import Path

import torch


def versions() -> dict[str, str]:
    """The versions that decide the bits of a result."""
    return {"stillroom": importlib.metadata.version("stillroom"), "torch": torch.__version__}


def hardware(device: str) -> dict[str, object]:
    """The processor or card, threads and Python, as JSON values."""
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else _processor()
    return {
        "device": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
