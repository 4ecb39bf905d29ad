"""Finished jobs outlive Valkey; and a service may keep them for less than a month."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import httpx2

from jobs.objects import FolderStore
from jobs.record import Job, Kind, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Outcome, TaskStore, connect
from jobs.terminal import archive_record
from jobs.valkey import EmbeddedValkey
from tests.builders import ENGINE, checkpoint, new_job
from tests.customer import ROOT, wait_until
from tests.e2e.conftest import Served, command, environment, onepair

TIMES = ("created", "expires")


def _ended_job(settings: Settings, objects: FolderStore) -> Job:
    """A job that has ended, in Valkey and among the objects, as a worker leaves it."""
    with EmbeddedValkey(settings.data_dir) as valkey, connect(valkey.url) as client:
        store = TaskStore(client, settings)
        new = new_job()
        store.create_job(new)
        claim = store.claim(Kind.JOB, TaskRef(new.id))
        assert claim is not None
        made = checkpoint(new.id, 30, final=True, token=claim.token)
        store.publish_checkpoint(claim, made, engine=ENGINE)
        store.finish(claim, Outcome(status=Status.SUCCEEDED))
        job = store.get_job(new.id)
        assert job is not None
        archive_record(objects, job)
        return job


def test_rebuild_on_a_folder_without_a_service(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    job = _ended_job(settings, FolderStore(tmp_path / "objects"))
    shutil.rmtree(tmp_path / "valkey")
    for restored in ("1", "0"):
        done = onepair("rebuild", "--data-dir", str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{restored} finished jobs")
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url) as client:
        assert TaskStore(client, settings).get_job(job.id) == job


def test_rebuild_while_the_service_runs(served: Served, tmp_path: Path) -> None:
    elsewhere = Settings(data_dir=tmp_path / "lost")
    job = _ended_job(elsewhere, FolderStore(served.data_dir / "objects"))
    assert httpx2.get(f"{served.url}/jobs/{job.id}").status_code == 404
    assert onepair("rebuild", "--data-dir", str(served.data_dir)).returncode == 0
    assert served.job(job.id)["status"] == "succeeded"


def test_rebuild_without_an_answer_from_valkey(tmp_path: Path) -> None:
    refused = onepair(
        "rebuild", "--data-dir", str(tmp_path), ONEPAIR_VALKEY_URL="redis://127.0.0.1:1/0"
    )
    assert refused.returncode == 1
    assert "hint:" in refused.stderr


def test_jobs_are_kept_as_long_as_the_operator_says(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, retention_days=1 / 86_400)
    job = _ended_job(settings, FolderStore(tmp_path / "objects"))
    days = str(2 / 86_400)
    process = subprocess.Popen(
        command("serve", "--data-dir", str(tmp_path), "--port", "0", "--keep-days", days),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    try:
        address = tmp_path / "service.json"
        wait_until(address.exists)
        served = Served(_url(address), process, tmp_path)
        made = served.job(served.post())
        created, expires = (datetime.fromisoformat(made[f"{name}_at"]) for name in TIMES)
        assert expires - created == timedelta(seconds=2)
        gone = wait_until(lambda: _answer(f"{served.url}/jobs/{job.id}", 410), 30)
        assert gone["code"] == "gone"
        wait_until(lambda: not (tmp_path / "objects" / "jobs" / job.id).exists(), 30)
    finally:
        process.terminate()
        process.wait(60)


def _url(address: Path) -> str:
    return str(json.loads(address.read_text())["url"])


def _answer(url: str, status: int) -> dict[str, str] | None:
    response = httpx2.get(url)
    return response.json() if response.status_code == status else None
