"""A worker's sign of life, for health checks: ``python -m worker.health [QUEUE]``.

Asked every half minute: so it loads nothing but the standard library.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from jobs.data_dir import default_data_dir

STALE_SECONDS = 60.0


def beat_file(data_dir: Path, name: str) -> Path:
    """The file that a living worker touches every few seconds."""
    return data_dir.resolve() / "health" / f"worker-{name}"


def is_healthy(path: Path, *, stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether the file was touched lately."""
    try:
        return time.time() - path.stat().st_mtime < stale_seconds
    except FileNotFoundError:
        return False


def main(arguments: list[str]) -> int:
    """Exit status 0: the worker of that queue is alive."""
    queue = arguments[0] if arguments else os.environ.get("ONEPAIR_QUEUE", "jobs")
    data_dir = os.environ.get("ONEPAIR_DATA_DIR")
    return 0 if is_healthy(beat_file(Path(data_dir or default_data_dir()), queue)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
