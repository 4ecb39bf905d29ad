"""A whole service as its user starts it: ``onepair serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.customer import ROOT, Customer, wait_until
from tests.processes import descendants, processes

# Short leases, so that a test needn't wait a minute for a killed worker's job.
QUICK = {
    "ONEPAIR_LEASE_SECONDS": "5",
    "ONEPAIR_BEAT_SECONDS": "1",
    "ONEPAIR_REAP_SECONDS": "1",
    "ONEPAIR_REAP_LOCK_SECONDS": "0.5",
    "ONEPAIR_RING_AGAIN_SECONDS": "2",
    "ONEPAIR_RETRY_BASE_SECONDS": "0.5",
    "ONEPAIR_CHECKPOINT_SECONDS": "3",
    "OMP_NUM_THREADS": "1",
}


def environment(**changes: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ONEPAIR_")}
    return {**clean, **QUICK, **changes}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def onepair(
    *arguments: str, timeout: float = 60, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@dataclass
class Served(Customer):
    """A running ``onepair serve``."""

    process: subprocess.Popen[bytes]
    data_dir: Path

    def part(self, words: str) -> int:
        """Id of the one process below the service whose command line has these words."""
        found = [pid for pid, line in descendants(self.process.pid).items() if words in line]
        assert len(found) == 1, descendants(self.process.pid)
        return found[0]


def start(data_dir: Path, **changes: str) -> Served:
    log = data_dir.parent / "serve.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command("serve", "--data-dir", str(data_dir), "--port", "0"),
            cwd=ROOT,
            env=environment(**changes),
            stdout=output,
            stderr=output,
        )
    address = data_dir / "service.json"

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        return address.exists()

    wait_until(ready, 150)
    return Served(json.loads(address.read_text())["url"], process, data_dir)


@contextmanager
def serving(folder: Path, **changes: str) -> Iterator[Served]:
    """A service on a fresh data folder; nothing of it is left at the end."""
    service = start(folder / "data", **changes)
    try:
        yield service
    finally:
        parts = descendants(service.process.pid)
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(90)
        assert not set(parts) & set(processes())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A service of the test's own, to stop or kill."""
    with serving(tmp_path) as service:
        yield service


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service for all tests that leave it running."""
    with serving(tmp_path_factory.mktemp("shared")) as service:
        yield service
