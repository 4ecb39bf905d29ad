"""``python -m worker.device_report``: what torch sees of this machine, as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch


def report() -> dict[str, object]:
    """Torch's version, cores, the GPUs it can use with name and memory in bytes, the driver."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(i) for i in range(count)]
    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "driver": _driver(),
        "cores": os.cpu_count(),
        "gpus": [{"name": one.name, "memory_bytes": one.total_memory} for one in properties],
    }


def _driver() -> str | None:
    """What the kernel's NVIDIA module says of itself; None: there is none."""
    try:
        return Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except (OSError, IndexError):
        return None


if __name__ == "__main__":
    print(json.dumps(report()))  # noqa: T201 - this is its answer
