"""The processes that make up a service on one machine: started, watched, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TETHER = Path(__file__).with_name("tether.py")
RESTARTS_ALLOWED = 5
RESTART_WINDOW_SECONDS = 60.0


def tethered(command: Sequence[str]) -> list[str]:
    """The command made to die with this process (see ``tether.py``)."""
    return [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *command]


def start_tethered(
    command: Sequence[str], *, env: Mapping[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Starts a command that is killed when this process dies; call it from the main thread.

    The kernel ties the child to the *thread* that started it. It gets a session of its own, so
    that a Ctrl-C on the terminal reaches only us and we stop the parts in order.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered(command),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def describe_exit(returncode: int) -> str:
    """An exit status in words: ``was killed by SIGKILL`` or ``ended with code 3``."""
    if returncode >= 0:
        return f"ended with code {returncode}"
    return f"was killed by {signal.Signals(-returncode).name}"


class Part:
    """One process of the service, restarted when it dies.

    Args:
        name: as shown to the user.
        command: what to run.
        env: its environment.
        log: where its output goes.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._command = tuple(command)
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts: list[float] = []

    @property
    def pid(self) -> int | None:
        """Process id while started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts the process; call it from the main thread."""
        self._process = start_tethered(self._command, env=self._env, log=self.log)

    def exit_status(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else None

    def may_restart(self) -> bool:
        """Whether it has not died too often lately; counts this time."""
        now = time.monotonic()
        self._restarts = [t for t in self._restarts if now - t < RESTART_WINDOW_SECONDS] + [now]
        return len(self._restarts) <= RESTARTS_ALLOWED

    def terminate(self) -> None:
        """Asks it to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, timeout_seconds: float) -> None:
        """Waits for its end; kills it (with what it started) when it takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
