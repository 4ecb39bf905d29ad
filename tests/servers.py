"""Real servers for the tests, on 127.0.0.1 and free ports."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import StoreAway
from jobs.objects.s3 import S3Store
from jobs.settings import Settings

ACCESS_KEY = "onepair-tests"
SECRET_KEY = "onepair-tests-secret"
_LAUNCHER = Path(__file__).parents[1] / "jobs" / "valkey" / "launch.py"


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, each with the one 10 000 above it.

    SeaweedFS takes both (the upper for gRPC). All lie below those that the kernel gives out
    by itself (32 768 and more), and the search begins anywhere: servers that start at the
    same moment seldom find the same ones.
    """
    found: list[int] = []
    first = random.randrange(12_000, 21_000)
    with contextlib.ExitStack() as held:
        for port in range(first, 22_000):
            pair = [held.enter_context(socket.socket()) for _ in range(2)]
            with contextlib.suppress(OSError):
                pair[0].bind(("127.0.0.1", port))
                pair[1].bind(("127.0.0.1", port + 10_000))
                found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports")


_TAKEN = ("Port allocation failed", "address already in use")
"""What SeaweedFS says where a port is another's."""


class PortTakenError(RuntimeError):
    """Another server was quicker to take a port that had been free."""


@dataclass
class SeaweedFS:
    """One SeaweedFS process with an S3 endpoint and one key pair."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    s3_port: int = 0

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.s3_port}"

    def settings(self, **changes: object) -> Settings:
        values: dict[str, object] = {
            "store": "s3",
            "s3_endpoint_url": self.endpoint_url,
            "s3_access_key": ACCESS_KEY,
            "s3_secret_key": SECRET_KEY,
            "s3_bucket": "tests",
        }
        return Settings.model_validate(values | changes)

    def start(self) -> SeaweedFS:
        """Start it and wait until it takes an object."""
        given = self.s3_port
        for _ in range(5):
            self.launch()
            try:
                self._wait()
            except PortTakenError:
                (self.folder / "weed.log").unlink()
                self.s3_port = given
            else:
                return self
        raise PortTakenError("five times in a row")

    def launch(self) -> None:
        """Start it without waiting."""
        self.folder.mkdir(parents=True, exist_ok=True)
        identities = {
            "identities": [
                {
                    "name": "tests",
                    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
        config = self.folder / "s3.json"
        config.write_text(json.dumps(identities))
        if not self.s3_port:
            self.s3_port = free_ports(1)[0]
        master, volume, filer, admin = [port for port in free_ports(5) if port != self.s3_port][:4]
        options = {
            "dir": str(self.folder),
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.port": master,
            "volume.port": volume,
            "filer.port": filer,
            "s3.port": self.s3_port,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": config,
            "s3.autoCreateBucket": "false",
            "admin.port": admin,
            "admin.ui": "false",
            "webdav": "false",
            "master.telemetry": "false",
        }
        weed = Path(sysconfig.get_path("scripts")) / "weed"
        command = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(weed), "mini"]
        with (self.folder / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(
                command + [f"-{name}={value}" for name, value in options.items()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
                cwd=self.folder,
            )

    def _wait(self) -> None:
        store = S3Store.from_settings(self.settings())
        deadline = time.monotonic() + 60
        while True:
            assert self.process is not None
            if self.process.poll() is not None:
                last_words = (self.folder / "weed.log").read_text()[-2_000:]
                taken = any(sign in last_words for sign in _TAKEN)
                raise (PortTakenError if taken else RuntimeError)(last_words)
            try:
                store.put_bytes("ready", b"ready")
                store.get_bytes("ready")
            except StoreAway:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """As a power cut would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
