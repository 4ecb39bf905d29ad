"""A whole service as its user starts it: ``onepair serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.processes import descendants, processes

ROOT = Path(__file__).parents[2]
COINS = ROOT / "examples" / "coins"
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
# Small on purpose: what is tested is the way of a job, not its pictures.
TINY = {"preset": "paper", "iterations": "30", "max_size": "64", "output_size": "train"}


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


def wait_until(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return value


def checkpoints(events: list[dict[str, Any]]) -> list[int]:
    """The steps at which checkpoints were published."""
    return [event["data"]["step"] for event in events if event["type"] == "checkpoint"]


@dataclass
class Served:
    """A running ``onepair serve``."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    url: str

    def request(self, method: str, path: str, **request: Any) -> httpx2.Response:
        response = httpx2.request(method, f"{self.url}{path}", timeout=30, **request)
        assert not response.is_error, response.text
        return response

    def post(self, *, names: tuple[str, ...] = ("image", "mask"), **fields: str) -> str:
        files = {name: (f"{name}.png", (COINS / f"{name}.png").read_bytes()) for name in names}
        return self.request("POST", "/jobs", data={**TINY, **fields}, files=files).json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        return self.request("GET", f"/jobs/{job_id}").json()

    def wait_for(self, job_id: str, *, step: int = 1, phase: str = "training") -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            job = self.job(job_id)
            assert job["status"] not in {"failed", "cancelled", "succeeded"}, job
            at = (job.get("progress") or {}).get("step") or 0
            return job if job["phase"] == phase and at >= step else None

        return wait_until(reached)

    def wait_for_checkpoint(self, job_id: str, *, step: int = 1) -> None:
        wait_until(lambda: any(at >= step for at in checkpoints(self.events(job_id))))

    def wait_for_end(self, job_id: str, seconds: float = 240.0) -> dict[str, Any]:
        ends = {"failed", "cancelled", "succeeded"}

        def ended() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in ends else None

        return wait_until(ended, seconds)

    def part(self, words: str) -> int:
        """Id of the one process below the service whose command line has these words."""
        found = [pid for pid, line in descendants(self.process.pid).items() if words in line]
        assert len(found) == 1, descendants(self.process.pid)
        return found[0]

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """All that has happened to a job, oldest first."""
        found: list[dict[str, Any]] = []
        headers = {"Accept": "application/json"}
        while True:
            page = self.request("GET", f"/jobs/{job_id}/events", headers=headers).json()
            if not page["items"]:
                return found
            found += page["items"]
            headers["Last-Event-ID"] = found[-1]["id"]


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
    return Served(process, data_dir, json.loads(address.read_text())["url"])


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
