"""Runs a command that dies with the process that started it.

Used as a script: ``python tether.py PARENT_PID COMMAND …``. It asks the kernel for a SIGKILL on
the parent's death and becomes the command (``exec``), so no process is left over after a
``kill -9`` of the parent. Standard library only: it runs before anything is set up.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ties itself to ``arguments[0]`` (a process id) and becomes ``arguments[1:]``."""
    parent_pid, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the kernel was asked
        raise SystemExit(1)
    os.execv(command[0], command)  # noqa: S606 - becoming it is the point


if __name__ == "__main__":
    main(sys.argv[1:])
