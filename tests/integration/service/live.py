"""The gateway as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from jobs.settings import Settings


def environment(settings: Settings, **changes: str) -> dict[str, str]:
    assert settings.valkey_url is not None
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
        "ONEPAIR_DATA_DIR": str(settings.data_dir),
        "ONEPAIR_VALKEY_URL": settings.valkey_url.get_secret_value(),
        "ONEPAIR_NAMESPACE": settings.namespace,
        **changes,
    }


@dataclass
class LiveGateway:
    """``python -m service`` on a free port."""

    settings: Settings
    log: Path
    changes: dict[str, str]
    preexec: Any = None

    def __enter__(self) -> Self:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        begun = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service"],
                env=environment(self.settings, ONEPAIR_PORT=str(port), **self.changes),
                stdout=log,
                stderr=log,
                preexec_fn=self.preexec,
            )
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False)
        while True:
            try:
                self.http.get("/livez")
                break
            except httpx2.TransportError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() - begun < 60
                time.sleep(0.02)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    def resident_megabytes(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) / 1024

    def processor_seconds(self) -> float:
        """Processor time that the process has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
