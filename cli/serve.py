"""``onepair serve``: Valkey, two workers and the gateway, started and stopped as one."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import httpx2
from rich.console import Console

from cli.data_folder import claimed, write_address
from cli.parts import RESTART_WINDOW_SECONDS, Part, describe_exit
from jobs.api_keys import is_open_to_others
from jobs.settings import Settings
from jobs.valkey import EmbeddedValkey

READY_SECONDS = 120.0
STOP_SECONDS = 60.0
WATCH_SECONDS = 0.25
VALKEY_PAUSE_SECONDS = 10.0
"""At most so long before a Valkey that died again and again is started once more."""


class ServeError(Exception):
    """The service could not start, or could not be kept up.

    Attributes:
        hint: where to look.
    """

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.hint = hint


def serve(settings: Settings, console: Console) -> None:
    """Runs everything on this machine until SIGINT or SIGTERM; call it from the main thread.

    Args:
        settings: with an absolute ``data_dir``; port 0 picks a free one.
        console: gets the URL and what happens to the parts.

    Raises:
        ApiKeyError: the file of API keys can't be read.
        FolderInUseError: another service runs on the data folder.
        ServeError: others could use it without a key; a part does not start, or keeps dying.
    """
    _refuse_exposure(settings, console)
    with claimed(settings.data_dir), _stop_requests() as stop, _valkey(settings) as valkey:
        port = _free_port(settings.host, settings.port)
        url = f"http://{_url_host(settings.host)}:{port}"
        parts = _parts(settings, valkey.url if valkey else None, port)
        try:
            for part in parts:
                part.start()
            _wait_until_ready(url, parts, stop)
            if not stop.is_set():
                write_address(settings.data_dir, url)
                console.print(f"OnePair is ready: {url}  (API: {url}/docs)", highlight=False)
                console.print(f"data: {settings.data_dir}   stop: Ctrl-C", highlight=False)
            _watch(parts, valkey, stop, console)
        finally:
            console.print("stopping …")
            _stop(parts)


def _refuse_exposure(settings: Settings, console: Console) -> None:
    if not is_open_to_others(settings):
        return
    if not settings.allow_open:
        raise ServeError(
            f"On {settings.host} others could use this service without an API key.",
            "Make one with `onepair keys create NAME`, or say --allow-open if nobody else reaches "
            "this machine.",
        )
    console.print(
        f"[bold]open:[/] whoever reaches {settings.host} can use this service, without a key"
    )


def _parts(settings: Settings, valkey_url: str | None, port: int) -> list[Part]:
    env = {
        **os.environ,
        "ONEPAIR_DATA_DIR": str(settings.data_dir),
        "ONEPAIR_HOST": settings.host,
        "ONEPAIR_PORT": str(port),
        "ONEPAIR_ALLOW_OPEN": str(settings.allow_open).lower(),
        "ONEPAIR_RETENTION_DAYS": str(settings.retention_days),
        "PYTHONUNBUFFERED": "1",
    }
    if valkey_url is not None:
        env["ONEPAIR_VALKEY_URL"] = valkey_url
    logs = settings.data_dir / "logs"
    # of two workers on one machine each answers Prometheus on a port of its own
    of_sets = {}
    if settings.metrics_port is not None:
        of_sets["ONEPAIR_METRICS_PORT"] = str(settings.metrics_port + 1)
    commands = {
        "gateway": [sys.executable, "-m", "service"],
        "worker-jobs": [sys.executable, "-m", "worker", "jobs"],
        "worker-sets": [sys.executable, "-m", "worker", "sets"],
    }
    return [
        Part(
            name,
            command,
            env={**env, **(of_sets if name == "worker-sets" else {})},
            log=logs / f"{name}.log",
        )
        for name, command in commands.items()
    ]


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; their old handlers come back afterwards."""
    stop = threading.Event()

    def request(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _valkey(settings: Settings) -> EmbeddedValkey | nullcontext[None]:
    if not settings.embedded:
        return nullcontext(None)
    return EmbeddedValkey(settings.data_dir, maxmemory=settings.valkey_maxmemory)


def _free_port(host: str, port: int) -> int:
    """The port itself if nobody listens there, or any free one for 0."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(
                f"Can't listen on {host}:{port}: {error.strerror}.",
                "Choose another --port (0 picks a free one).",
            ) from error
        return int(probe.getsockname()[1])


def _url_host(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 (compared, not bound)
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _wait_until_ready(url: str, parts: list[Part], stop: threading.Event) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not stop.is_set() and not is_ready(url):
        for part in parts:
            status = part.exit_status()
            if status is not None:
                raise ServeError(
                    f"{part.name} {describe_exit(status)} while starting:\n{part.log_tail()}",
                    f"Its whole log: {part.log}",
                )
        if time.monotonic() > deadline:
            raise ServeError(
                f"Not ready after {READY_SECONDS:.0f} s.", f"Logs: {parts[0].log.parent}"
            )
        stop.wait(WATCH_SECONDS)


def is_ready(url: str) -> bool:
    """Whether a gateway answers there and reaches its stores."""
    try:
        return httpx2.get(f"{url}/readyz", timeout=2.0).is_success
    except httpx2.TransportError:
        return False


def _watch(
    parts: list[Part],
    valkey: EmbeddedValkey | None,
    stop: threading.Event,
    console: Console,
) -> None:
    """Restarts what dies, until asked to stop."""
    deaths = 0
    started = time.monotonic()
    while not stop.wait(WATCH_SECONDS):
        if valkey is not None and not valkey.alive:
            console.print(
                f"Valkey died; starting it again on the same data (log: {valkey.log_path}; "
                "with a full disk it ends at every write)",
                highlight=False,
                soft_wrap=True,
            )
            deaths = 0 if time.monotonic() - started > RESTART_WINDOW_SECONDS else deaths + 1
            if stop.wait(min(WATCH_SECONDS * 2 ** min(deaths, 10), VALKEY_PAUSE_SECONDS)):
                return
            valkey.start()
            started = time.monotonic()
        for part in parts:
            _revive(part, console)


def _revive(part: Part, console: Console) -> None:
    status = part.exit_status()
    if status is None:
        return
    console.print(
        f"{part.name} {describe_exit(status)}; starting it again (log: {part.log})",
        highlight=False,
        soft_wrap=True,
    )
    if not part.may_restart():
        raise ServeError(
            f"{part.name} keeps dying:\n{part.log_tail()}", f"Its whole log: {part.log}"
        )
    part.start()


def _stop(parts: list[Part]) -> None:
    """All at once, so that none waits for another; a worker first lets its child checkpoint."""
    for part in parts:
        part.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for part in parts:
        part.wait(max(0.1, deadline - time.monotonic()))


def resolved(path: Path) -> Path:
    """The absolute form of a data folder: parts have it in their environment."""
    return path.expanduser().resolve()
