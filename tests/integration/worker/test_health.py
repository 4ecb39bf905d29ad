"""The health check of a worker's container."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.health import STALE_SECONDS, beat_file


def check(data_dir: Path, *flags: str, queue: str = "jobs") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *flags, "-m", "worker.health"],
        env={**os.environ, "ONEPAIR_DATA_DIR": str(data_dir), "ONEPAIR_QUEUE": queue},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_alive_while_it_shows_so(tmp_path: Path) -> None:
    assert check(tmp_path).returncode == 1
    path = beat_file(tmp_path, "jobs")
    path.parent.mkdir()
    path.touch()
    assert check(tmp_path).returncode == 0
    assert check(tmp_path, queue="sets").returncode == 1
    long_ago = time.time() - STALE_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    assert check(tmp_path).returncode == 1


def test_it_costs_next_to_nothing(tmp_path: Path) -> None:
    """Asked every half minute of a machine that trains: no library is loaded for it."""
    loaded = check(tmp_path, "-X", "importtime").stderr
    assert "jobs.data_dir" in loaded
    for library in ("pydantic", "celery", "redis", "structlog", "torch"):
        assert library not in loaded


@pytest.mark.parametrize("is_told", [True, False])
def test_where_it_looks_is_where_the_settings_say(tmp_path: Path, is_told: bool) -> None:
    told = {"ONEPAIR_DATA_DIR": str(tmp_path)} if is_told else {"XDG_DATA_HOME": str(tmp_path)}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ONEPAIR_", "XDG_"))}
    code = (
        "from jobs.settings import load_settings; from worker.health import beat_file, main;"
        "path = beat_file(load_settings().data_dir, 'jobs'); path.parent.mkdir(parents=True);"
        "path.touch(); raise SystemExit(main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **told}, timeout=60, check=False
    )
    assert done.returncode == 0
    assert list(tmp_path.rglob("worker-jobs"))
