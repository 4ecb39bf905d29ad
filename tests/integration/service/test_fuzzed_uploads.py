"""Files with bytes gone wrong: read or refused, quickly, in little memory, and never a 500."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from service.decoder import DecoderOptions
from tests.fuzz.decode_many import SLOW_SECONDS, make_input
from tests.fuzz.mutations import seed_files
from tests.integration.service.client import TestClient
from tests.integration.service.refusals import assert_refused

ROOT = Path(__file__).parents[3]
MOST_BYTES = 300_000_000
"""Resident; the kernel's limit on the process is on addresses, and larger."""
SECONDS_AN_INPUT = 0.1
"""On a busy machine; it takes milliseconds."""


def _decode_many(tmp_path: Path, seed: int, count: int) -> Counter[str]:
    progress = tmp_path / "input"
    command = ["-m", "tests.fuzz.decode_many", "--seed", str(seed), "--count", str(count)]
    try:
        done = subprocess.run(
            [sys.executable, *command, "--progress", str(progress)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=60 + SECONDS_AN_INPUT * count,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.fail(f"input {progress.read_text()} of seed {seed} hangs")
    assert done.returncode == 0, f"died on input {progress.read_text()} of seed {seed}"
    *faults, summary = map(json.loads, done.stdout.splitlines())
    assert faults == []
    assert summary["slowest_seconds"] < SLOW_SECONDS
    assert summary["peak_bytes"] < MOST_BYTES < DecoderOptions().limits().memory_bytes
    return Counter(summary["outcomes"])


def test_some_fuzzed_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = _decode_many(tmp_path, seed=1, count=1_500)
    # mutations that only ever broke the first bytes would test nothing
    assert outcomes["read"] > 50
    assert outcomes["broken_image"] > 200
    assert len(outcomes) > 5


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_twenty_thousand_fuzzed_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = _decode_many(tmp_path, seed=2, count=20_000)
    assert outcomes.total() == 20_000


def test_fuzzed_uploads_are_never_our_fault(
    gateway: TestClient, stored: Callable[[], list[str]]
) -> None:
    seeds = seed_files()
    statuses = Counter[int]()
    for number in range(24):
        files = make_input(seeds, random.Random(f"gateway {number}"))
        answer = gateway.post("/jobs", files=files, data={"dry_run": "true"})
        statuses[answer.status_code] += 1
        if answer.status_code != 200:
            assert_refused(answer, answer.status_code, answer.json()["code"])
    assert max(statuses) < 500
    assert len(statuses) > 2
    assert stored() == []
