"""The parts of a service as separate processes that can be killed, paused and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
import uuid
from pathlib import Path

from cli.parts import Part
from jobs.api_keys import ApiKeyFile
from jobs.queue import Queue, key_prefix
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey
from tests.processes import descendants, processes, processes_with
from tests.servers import ACCESS_KEY, SECRET_KEY, SeaweedFS

LEASE_SECONDS = 8.0
STOP_SECONDS = 60.0
"""What a SIGTERM leaves a worker in docker-compose: ``stop_grace_period``."""
SUDDEN_END_SECONDS = 10.0
"""How long what a killed process has started may outlive it."""
WORKERS = {"jobs-a": "jobs", "jobs-b": "jobs", "sets": "sets"}
TIMES = {
    "lease_seconds": LEASE_SECONDS,
    "beat_seconds": 1.0,
    "reap_seconds": 1.0,
    "reap_lock_seconds": 0.5,
    "ring_again_seconds": 2.0,
    "retry_base_seconds": 0.5,
    "checkpoint_seconds": 3.0,
}


class Stack:
    """Valkey, an S3 server, a gateway, two workers for jobs and one for sets.

    Workers have data folders of their own, as on machines of their own. Everything is started from
    the main thread: the kernel ties a process's life to the thread that started it.

    Args:
        folder: takes data and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.mark = f"chaos{uuid.uuid4().hex[:12]}"
        self.valkey = EmbeddedValkey(folder)
        self.seaweed = SeaweedFS(folder / "seaweed")
        self.port = _gateway_port()
        keys = folder / "api-keys.json"
        _, self.api_key = ApiKeyFile(keys).create("chaos")
        self.seaweed.start()
        self.settings = self.seaweed.settings(
            valkey_url=self.valkey.url,
            namespace=self.mark,
            data_dir=folder / "gateway",
            s3_public_url=self.seaweed.endpoint_url,
            delivery="presign",
            api_keys_file=keys,
            port=self.port,
            requests_per_minute=1_000_000,
            **TIMES,
        )
        self.parts = {"gateway": self._part("gateway", [sys.executable, "-m", "service"])}
        for name, queue in WORKERS.items():
            self.parts[name] = self._part(name, [sys.executable, "-m", "worker", queue])
        self.graceful_seconds: list[float] = []

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def secrets(self) -> dict[str, str]:
        """What no log line may contain, by name."""
        return {"API key": self.api_key, "S3 secret": SECRET_KEY, "signature": "X-Amz-Signature"}

    def _part(self, name: str, command: list[str]) -> Part:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            **_as_environment(self.settings),
            "ONEPAIR_DATA_DIR": str(self.folder / name),
            "ONEPAIR_S3_ACCESS_KEY": ACCESS_KEY,
            "ONEPAIR_S3_SECRET_KEY": SECRET_KEY,
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return Part(name, command, env=environment, log=self.logs / f"{name}.log")

    def start(self) -> None:
        """Starts Valkey and the parts; the S3 server runs already."""
        self.valkey.start()
        for part in self.parts.values():
            part.start()

    def close(self) -> None:
        """Stops everything, gently at first."""
        for part in self.parts.values():
            part.terminate()
        for part in self.parts.values():
            part.wait(STOP_SECONDS)
        self.valkey.stop()
        self.seaweed.kill()

    def store(self) -> TaskStore:
        """The state machine, seen directly."""
        return TaskStore(connect(self.valkey.url), self.settings)

    def is_up(self, name: str) -> bool:
        """Whether a part's process runs."""
        if name == "valkey":
            return self.valkey.alive
        if name == "store":
            return self.seaweed.process is not None and self.seaweed.process.poll() is None
        part = self.parts[name]
        return part.pid is not None and part.exit_status() is None

    def kill(self, name: str) -> None:
        """As a power cut would; what it had started has to be gone at once, too.

        Raises:
            AssertionError: something it had started lives on.
        """
        if name == "store":
            self.seaweed.kill()
            return
        pid = self.valkey.pid if name == "valkey" else self.parts[name].pid
        assert pid is not None
        below = descendants(pid)
        os.kill(pid, signal.SIGKILL)
        self._await_exit(name)
        _assert_gone(name, below)

    def start_again(self, name: str) -> None:
        """After its death. Returns before an S3 server is ready."""
        if name == "valkey":
            self.valkey.start()
        elif name == "store":
            self.seaweed.launch()
        else:
            self.parts[name].start()

    def stop(self, name: str) -> None:
        """SIGTERM; waits for the end and notes how long it took.

        Raises:
            AssertionError: it took longer than the grace period.
        """
        began = time.monotonic()
        self.parts[name].terminate()
        self._await_exit(name, STOP_SECONDS)
        self.graceful_seconds.append(time.monotonic() - began)

    def _await_exit(self, name: str, seconds: float = SUDDEN_END_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while self.is_up(name):
            assert time.monotonic() < deadline, f"{name} lives on after {seconds:.0f} s"
            time.sleep(0.02)

    def pause(self, name: str) -> None:
        """Stops the process, not what it has started."""
        self._signal(name, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """Lets it go on."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: signal.Signals) -> None:
        pid = self.parts[name].pid
        assert pid is not None
        os.kill(pid, number)

    def child_of(self, name: str) -> int | None:
        """Id of a worker's training or generating process, if it has one now."""
        pid = self.parts[name].pid
        if pid is None:
            return None
        found = [one for one, line in descendants(pid).items() if "worker.child" in line]
        return found[0] if found else None

    def lose_doorbells(self) -> None:
        """Messages vanish."""
        with connect(self.valkey.url) as client:
            prefix = key_prefix(self.settings)
            client.delete(f"{prefix}jobs", f"{prefix}sets")

    def repeat_doorbells(self) -> None:
        """Every job's message comes again, whatever its state."""
        queue = Queue(self.settings, self.valkey.url)
        try:
            for job in self.store().list_jobs(limit=1_000).items:
                queue.ring(job.ref)
                for sample_set in self.store().list_sets(job.id):
                    queue.ring(sample_set.ref)
        finally:
            queue.close()

    def left_over(self) -> dict[int, str]:
        """Processes of this stack that still live, by id."""
        return processes_with(f"ONEPAIR_NAMESPACE={self.mark}")


def _gateway_port() -> int:
    """A free one below those that SeaweedFS takes whenever it starts."""
    for port in range(10_000 + os.getpid() % 1_000, 12_000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


def _as_environment(settings: Settings) -> dict[str, str]:
    """What differs from the defaults, as variables; secrets are left to the caller."""
    assert settings.valkey_url is not None
    changed = settings.model_dump(exclude_unset=True, exclude={"s3_access_key", "s3_secret_key"})
    changed["valkey_url"] = settings.valkey_url.get_secret_value()
    return {f"ONEPAIR_{name.upper()}": str(value) for name, value in changed.items()}


def _assert_gone(name: str, below: dict[int, str]) -> None:
    deadline = time.monotonic() + SUDDEN_END_SECONDS
    while alive := {pid: line for pid, line in processes().items() if pid in below}:
        if time.monotonic() > deadline:
            raise AssertionError(f"{name} was killed, and left {alive}")
        time.sleep(0.05)
