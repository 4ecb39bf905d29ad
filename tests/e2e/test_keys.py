"""``onepair keys``, and that nothing listens to others without them by accident."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx2
import pytest

from tests.customer import ROOT
from tests.e2e.conftest import Served, command, environment, onepair


def test_keys_are_made_used_listed_and_revoked(served: Served) -> None:
    folder = ("--data-dir", str(served.data_dir))
    assert httpx2.get(f"{served.url}/jobs").status_code == 200
    made = onepair("keys", "create", "lab", *folder)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert "every request needs a key" in made.stderr
    assert httpx2.get(f"{served.url}/jobs").status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{served.url}/jobs", headers=headers).status_code == 200

    listed = onepair("keys", "list", *folder, COLUMNS="160")
    (row,) = (line for line in listed.stdout.splitlines() if "lab" in line)
    assert row.count("20") >= 2  # made, and used
    assert token.rsplit("_", 1)[1] not in listed.stdout

    again = onepair("keys", "create", "lab", *folder)
    assert (again.returncode, again.stdout) == (1, "")
    assert "hint:" in again.stderr

    refused = onepair("samples", "0" * 32, "-o", str(served.data_dir / "out"), "--url", served.url)
    assert refused.returncode == 1
    assert "ONEPAIR_API_KEY" in refused.stderr
    unknown = onepair(
        *("samples", "0" * 32, "-o", str(served.data_dir / "out"), "--url", served.url),
        ONEPAIR_API_KEY=token,
    )
    assert "No job has this id" in unknown.stderr

    assert onepair("keys", "revoke", "lab", *folder).returncode == 0
    assert httpx2.get(f"{served.url}/jobs", headers=headers).status_code == 401
    gone = onepair("keys", "revoke", "lab", *folder)
    assert gone.returncode == 1
    assert "onepair keys list" in gone.stderr


@pytest.mark.parametrize("program", ["serve", "gateway"])
def test_nothing_listens_to_others_without_keys_by_accident(tmp_path: Path, program: str) -> None:
    if program == "serve":
        refused = onepair("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(tmp_path))
    else:
        env = environment(
            ONEPAIR_HOST="0.0.0.0",
            ONEPAIR_DATA_DIR=str(tmp_path),
            ONEPAIR_VALKEY_URL="redis://127.0.0.1:1/0",
        )
        python = command()[0]
        refused = subprocess.run(
            [python, "-m", "service"],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert refused.returncode == 1
    assert "onepair keys create" in refused.stderr
    assert not list(tmp_path.iterdir())
