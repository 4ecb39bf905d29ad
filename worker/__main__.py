"""``python -m worker [QUEUE]``: a worker of one queue, ``jobs`` (default) or ``sets``.

The queue may also be named by ``ONEPAIR_QUEUE``. The same as
``celery --app worker.app:app worker --queues QUEUE`` with the flags that fit.
"""

from __future__ import annotations

import os
import sys

from jobs.queue import JOBS_QUEUE
from worker.app import app


def main(arguments: list[str]) -> None:
    """Runs until SIGTERM."""
    queue = arguments[0] if arguments else os.environ.get("ONEPAIR_QUEUE", JOBS_QUEUE)
    options = [
        "--quiet",
        "worker",
        "--queues",
        queue,
        "--hostname",
        f"{queue}@%h",
        "--loglevel",
        "WARNING",
    ]
    app.worker_main([*options, "--without-gossip", "--without-mingle", "--without-heartbeat"])


if __name__ == "__main__":
    main(sys.argv[1:])
