"""A service as its customer has it: an address, and what can be asked there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[1]
COINS = ROOT / "examples" / "coins"
# Small on purpose: what is tested is the way of a job, not its pictures.
TINY = {"preset": "paper", "iterations": "30", "max_size": "64", "output_size": "train"}


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
class Customer:
    """Of the service at ``url``."""

    url: str

    def request(self, method: str, path: str, **request: Any) -> httpx2.Response:
        response = httpx2.request(method, f"{self.url}{path}", timeout=30, **request)
        assert not response.is_error, response.text
        return response

    def post(self, *, names: tuple[str, ...] = ("image", "mask"), **fields: str) -> str:
        files = {name: (f"{name}.png", (COINS / f"{name}.png").read_bytes()) for name in names}
        answer = self.request("POST", "/jobs", data={**TINY, **fields}, files=files)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

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
