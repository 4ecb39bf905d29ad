"""The stack as its operator has it: a folder with the compose file, ``.env`` and two secrets."""

from __future__ import annotations

import os
import secrets
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
        keys = self.folder / "secrets"
        keys.mkdir(mode=0o700)
        for name in ("onepair_s3_access_key", "onepair_s3_secret_key"):
            secret = secrets.token_hex(24)
            (keys / name).write_text(secret)
            (keys / name).chmod(0o644)
            self.secrets.append(secret)
        password = secrets.token_hex(24)
        (keys / "onepair_valkey_url").write_text(f"redis://:{password}@valkey:6379/0")
        (keys / "onepair_valkey_url").chmod(0o644)
        self.secrets.append(password)
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

    def exec(self, service: str, *command: str) -> str:
        """A command in a running container."""
        return self._compose("exec", "--no-TTY", service, *command)

    def logs(self, *services: str) -> str:
        """All that was logged."""
        return self._compose("logs", "--no-color", *services)

    def down(self) -> None:
        """Ends it, with its volumes."""
        self._compose("down", "--volumes", "--timeout", "60", check=False)

    def _compose(self, *arguments: str, check: bool = True) -> str:
        files = ["--file", "docker-compose.yml"]
        if self.is_presigning:
            files += ["--file", "deploy/compose.presign.yml"]
        return self.engine.compose(
            *files, "--profile", "cpu", *arguments, folder=self.folder, check=check
        )
