"""The stack as its operator has it: a folder with the compose file, ``.env`` and two secrets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.compose.engine import Engine
from tests.compose.images import BASE, ROOT, SEAWEEDFS, VALKEY

TAG = "test"
# Short leases: nobody waits a minute for a killed worker's job here.
QUICK = {
    "ONEPAIR_LEASE_SECONDS": "10",
    "ONEPAIR_BEAT_SECONDS": "2",
    "ONEPAIR_REAP_SECONDS": "2",
    "ONEPAIR_REAP_LOCK_SECONDS": "1",
    "ONEPAIR_RING_AGAIN_SECONDS": "5",
    "ONEPAIR_RETRY_BASE_SECONDS": "1",
    "ONEPAIR_CHECKPOINT_SECONDS": "3",
}


def lines_of(page: str, first: str, last: str) -> str:
    """The commands of a page from one that begins so to one that does."""
    lines = (ROOT / page).read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith(first))
    end = next(i for i, line in enumerate(lines) if i >= begin and line.startswith(last))
    return "\n".join(lines[begin : end + 1])


@dataclass
class Stack:
    """``docker compose --profile cpu`` in a folder of its own.

    Attributes:
        engine: that runs it.
        folder: the project.
        host: an address of this machine that its containers reach too.
        port: of the gateway; the object store has the next one.
    """

    engine: Engine
    folder: Path
    host: str
    port: int
    secrets: list[str] = field(default_factory=list)
    is_presigning: bool = False

    def prepare(self) -> None:
        """Writes what README and ``.env.example`` ask for."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy2(ROOT / "docker-compose.yml", self.folder)
        for name in ("docker", "deploy"):
            shutil.copytree(ROOT / name, self.folder / name)
        self.shell(lines_of("docs/deploy.md", "mkdir -m 700 secrets", "chmod 644 secrets/*"))
        for path in (self.folder / "secrets").iterdir():
            said = path.read_text().strip()
            self.secrets.append(said.removeprefix("redis://:").partition("@")[0])
        assert len(self.secrets) == 3
        assert all(len(secret) >= 32 for secret in self.secrets)
        values = {
            "ONEPAIR_PUBLISH": f"{self.host}:{self.port}",
            "ONEPAIR_S3_PUBLISH": f"{self.host}:{self.port + 1}",
            "ONEPAIR_S3_PUBLIC_URL": f"http://{self.host}:{self.port + 1}",
            "ONEPAIR_TAG": TAG,
            "BASE_IMAGE": BASE,
            "VALKEY_IMAGE": VALKEY,
            "SEAWEEDFS_IMAGE": SEAWEEDFS,
            "ONEPAIR_WORKER_MEMORY": "6g",
            **QUICK,
        }
        changed = "".join(f"{name}={value}\n" for name, value in values.items())
        example = (ROOT / ".env.example").read_text()
        (self.folder / ".env").write_text(f"{example}\n{changed}")

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"http://{self.host}:{self.port}"

    def up(self) -> None:
        """Starts it, or what has changed of it, and waits until all of it is healthy."""
        self._compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "240")

    def presign(self) -> None:
        """From now on archives come from the object store."""
        self.is_presigning = True
        self.up()

    def kill(self, service: str) -> None:
        """``kill -9`` of a container's first process, past Docker, so that it starts again."""
        name = self._compose("ps", "--quiet", service).strip()
        pid = int(self.engine.docker("inspect", "--format", "{{.State.Pid}}", name))
        os.kill(pid, signal.SIGKILL)

    def run(self, service: str, *command: str, volume: str | None = None) -> str:
        """A container for one command, which may fail; what it says."""
        options = ["--volume", volume] if volume else []
        return self._compose("run", "--rm", "--no-deps", *options, service, *command, check=False)

    def shell(self, line: str) -> None:
        """A line of docs/deploy.md, in the project's folder."""
        subprocess.run(["sh", "-ec", line], cwd=self.folder, check=True, timeout=60)

    def scale(self, service: str, count: int) -> list[str]:
        """So many containers of it; the ids of those that run."""
        number = f"{service}={count}"
        self._compose("up", "--detach", "--no-build", "--wait", "--scale", number)
        return self._compose("ps", "--quiet", service).split()

    def stop(self) -> None:
        """Ends all containers; what they have stored stays."""
        self._compose("stop")

    def exec(self, service: str, *command: str) -> str:
        """A command in a running container."""
        return self._compose("exec", "--no-TTY", service, *command)

    def logs(self, *services: str) -> str:
        """All that was logged."""
        return self._compose("logs", "--no-color", *services)

    def down(self) -> None:
        """Ends it, with its volumes."""
        self._compose("down", "--volumes", "--remove-orphans", "--timeout", "60", check=False)

    def _compose(self, *arguments: str, check: bool = True) -> str:
        files = ["--file", "docker-compose.yml"]
        if self.is_presigning:
            files += ["--file", "deploy/compose.presign.yml"]
        return self.engine.compose(
            *files, "--profile", "cpu", *arguments, folder=self.folder, check=check
        )
