"""The child: ``python -m worker.child ASSIGNMENT PARENT_PID``.

Ends itself when its supervisor is gone: by the kernel's parent-death signal where there is one,
and by the end of its standard input everywhere.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO

from worker.protocol import Assignment, FailureReport, Order, Report

PR_SET_PDEATHSIG = 1
ORPHANED_STATUS = 3


class Supervised:
    """The child's end of the protocol.

    Attributes:
        is_finishing: training shall end with what is learned.
        is_stopping: everything shall end, after a checkpoint.
    """

    def __init__(self, reports: IO[bytes], orders: IO[str]) -> None:
        self._reports = reports
        self._orders = orders
        self._lock = threading.Lock()
        self.is_finishing = False
        self.is_stopping = False

    def listen(self) -> None:
        """Takes orders on a thread of its own from now on."""
        threading.Thread(target=self._take_orders, name="orders", daemon=True).start()

    def say(self, report: Report) -> None:
        """Sends a report; one line, from any thread."""
        line = report.model_dump_json().encode() + b"\n"
        with self._lock:
            self._reports.write(line)
            self._reports.flush()

    def _take_orders(self) -> None:
        for line in self._orders:
            self.is_finishing = self.is_finishing or line.strip() == Order.FINISH
            self.is_stopping = self.is_stopping or line.strip() == Order.STOP
        # No more supervisor: whatever we would still write, nobody may publish.
        os._exit(ORPHANED_STATUS)


def supervised(parent_pid: int) -> Supervised:
    """Ties this process to its supervisor and takes standard output for the protocol alone.

    Libraries that print go to standard error from here on.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(ORPHANED_STATUS)
    reports = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # The supervisor decides: a Ctrl-C or SIGTERM for the whole group is not for us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link = Supervised(reports, sys.stdin)
    link.listen()
    return link


def main(arguments: list[str]) -> int:
    """Does the assignment; exit status 0 means that the last report tells how it ended."""
    link = supervised(int(arguments[1]))
    assignment = Assignment.model_validate_json(Path(arguments[0]).read_bytes())
    from jobs.errors import is_out_of_room
    from osmis_core.errors import OsmisError
    from osmis_core.training.allocation import keep_freed_memory
    from worker.child_work import is_memory_error, sample, train
    from worker.endings import DISK_FULL

    try:
        if assignment.work == "train":
            keep_freed_memory()
            train(assignment, link)
        else:
            sample(assignment, link)
    except OsmisError as error:
        # Raised on purpose: the same input would end the same way again.
        traceback.print_exc()
        link.say(FailureReport(code=error.code, detail=error.detail, hint=error.hint))
    except Exception as error:
        if is_memory_error(error):
            failure = FailureReport(code="out_of_memory", detail=str(error), memory=True)
        elif is_out_of_room(error):
            failure = FailureReport(**DISK_FULL.model_dump(exclude={"log_key"}), again=True)
        else:
            raise
        link.say(failure)  # before the log, which may be on that full disk
        traceback.print_exc()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
