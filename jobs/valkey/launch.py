"""Become valkey-server, tied to the life of the parent: ``launch.py PARENT_PID BINARY ARGS…``.

Run as a file by ``sys.executable -I -S``: standard library only. A small program of its own rather
than ``preexec_fn``, which is unsafe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel to kill us with our parent, then exec."""
    parent_pid, binary, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        # SIGKILL: nothing is lost with appendfsync always, and a busy server can't put it off.
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent_pid):  # it died before we asked
        raise SystemExit(1)
    # Ctrl-C in a terminal reaches the whole group; the parent decides when we stop.
    os.setpgid(0, 0)
    os.execv(binary, ["valkey-server", *arguments])  # noqa: S606 - becoming it is the point


if __name__ == "__main__":
    main()
