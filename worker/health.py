"""A worker's sign of life, for health checks: ``python -m worker.health [QUEUE]``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from jobs.queue import JOBS_QUEUE
from jobs.settings import Settings, load_settings

STALE_SECONDS = 60.0


def beat_file(settings: Settings, name: str) -> Path:
    """The file that a living worker touches every few seconds."""
    return settings.data_dir.resolve() / "health" / f"worker-{name}"


def is_healthy(path: Path, *, stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether the file was touched lately."""
    try:
        return time.time() - path.stat().st_mtime < stale_seconds
    except FileNotFoundError:
        return False


def main(arguments: list[str]) -> int:
    """Exit status 0: the worker of that queue is alive."""
    queue = arguments[0] if arguments else os.environ.get("ONEPAIR_QUEUE", JOBS_QUEUE)
    return 0 if is_healthy(beat_file(load_settings(), queue)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
