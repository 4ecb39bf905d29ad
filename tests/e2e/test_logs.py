"""One request's name in every line that it caused, from the gateway to the worker."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.customer import COINS, TINY
from tests.e2e.conftest import Served, serving

REQUEST = "lab-7.pair_3"


@pytest.fixture
def served_json(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path, ONEPAIR_LOG_FORMAT="json") as service:
        yield service


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_a_jobs_lines_can_be_found_by_its_request(served_json: Served, tmp_path: Path) -> None:
    names = ("image", "mask")
    files = {name: (f"{name}.png", (COINS / f"{name}.png").read_bytes()) for name in names}
    answer = served_json.request(
        "POST", "/jobs", data={**TINY, "iterations": "5", "n": "4"}, files=files,
        headers={"X-Request-ID": REQUEST},
    )  # fmt: skip
    assert answer.headers["x-request-id"] == REQUEST
    job_id = answer.json()["id"]
    made_up = served_json.request("GET", "/livez", headers={"X-Request-ID": "no\tname"})
    assert len(made_up.headers["x-request-id"]) == 32
    assert served_json.wait_for_end(job_id)["status"] == "succeeded"

    logs = tmp_path / "copied"
    shutil.copytree(served_json.data_dir / "logs", logs)
    caused = {
        name: [one for one in lines(logs / f"{name}.log") if one.get("request_id") == REQUEST]
        for name in ("gateway", "worker-jobs")
    }
    assert [one["job"] for one in caused["gateway"] if one["event"] == "job_accepted"] == [job_id]
    events = [one["event"] for one in caused["worker-jobs"]]
    assert "attempt_begins" in events
    assert "attempt_ends" in events
    assert {one["job"] for one in caused["worker-jobs"]} == {job_id}
