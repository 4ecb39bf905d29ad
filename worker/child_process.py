"""The child as the supervisor sees it: started, listened to, ordered about, killed."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import structlog
from pydantic import ValidationError

from jobs.settings import secret_variables
from worker.protocol import ASSIGNMENT_FILE, REPORTS, Assignment, Order, Report

log = structlog.get_logger(__name__)

OUT_OF_MEMORY_STATUS = 137
_NO_MORE = None
_OTHER_SECRETS = frozenset(
    {
        *("ONEPAIR_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
        *("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
    }
)


class ChildProcess:
    """A fresh process (exec, no fork of this one's state) in a process group of its own.

    Start it from a thread that outlives it: the kernel's parent-death signal, which the child
    asks for itself, follows the thread that started it.

    Args:
        command: program and arguments; the assignment's path and our process id are appended.
        assignment: what to do.
        log_file: gets the child's standard error; appended to.
        env: its environment; ours when None.
    """

    def __init__(
        self,
        command: Sequence[str],
        assignment: Assignment,
        log_file: Path,
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        path = assignment.folder / ASSIGNMENT_FILE
        path.write_text(assignment.model_dump_json())
        self._killed = False
        with log_file.open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, str(path), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=env,
                start_new_session=True,
            )
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._is_silent = False
        self._listener = threading.Thread(target=self._listen, name="child-reports", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def next_report(self, timeout_seconds: float) -> Report | None:
        """The next report, or None when none came in time or the child has ended."""
        if self._is_silent:
            return None
        try:
            report = self._reports.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if report is _NO_MORE:
            self._is_silent = True
        return report

    def has_ended(self) -> bool:
        """Whether it has exited and all its reports were read."""
        return self._is_silent and self._process.poll() is not None

    def order(self, order: Order) -> None:
        """Tells it something; a child that is just dying doesn't mind."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{order}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            log.info("child_gone_before_order", order=order, pid=self.pid)

    def kill(self) -> None:
        """Ends it and whatever it started, at once."""
        self._killed = True
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            log.debug("child_already_gone", pid=self.pid)
        self.close()

    def close(self) -> int:
        """Waits for its end and frees the pipes.

        Returns:
            The exit status; negative: the signal that ended it.
        """
        status = self._process.wait()
        self._listener.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            log.debug("order_unread", pid=self.pid)
        self._process.stdout.close()
        return status

    def describe_end(self) -> str:
        """How it ended, in words."""
        status = self._process.returncode
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"ended with code {status}"

    @property
    def was_killed_by_others(self) -> bool:
        """SIGKILL that did not come from us: as a rule, the kernel was out of memory."""
        status = self._process.returncode
        return not self._killed and status in {-signal.SIGKILL, OUT_OF_MEMORY_STATUS}

    def _listen(self) -> None:
        stream: IO[bytes] | None = self._process.stdout
        assert stream is not None
        for line in stream:
            try:
                self._reports.put(REPORTS.validate_json(line))
            except ValidationError:
                log.warning("unreadable_report", line=line[:200].decode(errors="replace"))
        self._reports.put(_NO_MORE)


def child_environment(cache_folder: Path) -> dict[str, str]:
    """Ours without its secrets, with what suits a child that shares the machine.

    A child reads and writes files in its folder and nothing else, so it gets no key to anything.
    What the user has set of the rest stays.

    OpenMP's idle threads spin for milliseconds by default. As soon as there are more busy threads
    than cores (a training beside a sample set), they spin away the time of those that have work:
    two trainings on two busy cores ran at 0.13 steps/s each, and at 0.8 with short waits. Spinning
    for some tens of microseconds costs nothing on an idle machine (0.21 s a step either way).

    Args:
        cache_folder: for compiled code, where the package's own folder can't be written.
    """
    secrets = secret_variables() | _OTHER_SECRETS
    ours = {name: value for name, value in os.environ.items() if name.upper() not in secrets}
    env = {"GOMP_SPINCOUNT": "20000", **ours}
    package = find_spec("osmis_core")
    folders = (package.submodule_search_locations if package else None) or []
    if not all(os.access(folder, os.W_OK) for folder in folders):
        env.setdefault("NUMBA_CACHE_DIR", str(cache_folder / "numba"))
    return env


def oom_kills() -> int | None:
    """How many processes the kernel has killed for want of memory; None where it doesn't say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    except OSError:
        return None
    return None
