"""What the gateway does without being asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import structlog

from jobs.keys import input_key, new_job_id
from jobs.objects import FolderStore
from jobs.queue import Queue
from jobs.record import Kind
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.small_worker import SmallWorker


def put_orphan(objects: FolderStore, age_seconds: float) -> str:
    job_id = new_job_id()
    key = input_key(job_id, "image.png")
    objects.put_bytes(key, b"image")
    os.utime(objects.root / key, (time.time() - age_seconds,) * 2)
    return job_id


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_orphans_are_swept_after_the_start_and_again_a_period_later(
    settings: Settings, objects: FolderStore, worker: SmallWorker
) -> None:
    job_id = worker.accepted()
    for key in [info.key for info in objects.list("jobs/")]:
        os.utime(objects.root / key, (time.time() - 90_000,) * 2)
    young = put_orphan(objects, age_seconds=3_600)
    old = put_orphan(objects, age_seconds=90_000)
    often = settings.model_copy(update={"sweep_delay_seconds": 0.1, "sweep_seconds": 0.3})
    with TestClient(create_app(often)) as gateway:
        assert eventually(lambda: old not in set(objects.children("jobs/")))
        later = put_orphan(objects, age_seconds=90_000)
        assert eventually(lambda: later not in set(objects.children("jobs/")))
        assert set(objects.children("jobs/")) == {job_id, young}
        assert gateway.get(f"/jobs/{job_id}").status_code == 200


def test_nothing_is_swept_right_after_the_start(settings: Settings, objects: FolderStore) -> None:
    assert settings.sweep_delay_seconds >= 60
    old = put_orphan(objects, age_seconds=90_000)
    with TestClient(create_app(settings)) as gateway:
        assert gateway.get("/readyz").status_code == 200
        time.sleep(0.2)
    assert list(objects.children("jobs/")) == [old]


def test_an_unheard_job_is_rung(settings: Settings, worker: SmallWorker, queue: Queue) -> None:
    worker.accepted()  # created, and then its message was lost
    assert queue.waiting(Kind.JOB) == 0
    often = settings.model_copy(update={"reap_seconds": 0.1})
    with TestClient(create_app(often)):
        assert eventually(lambda: queue.waiting(Kind.JOB) == 1)


def test_housekeeping_goes_on_after_an_outage(
    settings: Settings, objects: FolderStore, tmp_path: Path
) -> None:
    server = EmbeddedValkey(tmp_path / "own").start()
    often = Settings.model_validate(
        settings.model_dump()
        | {"valkey_url": server.url, "sweep_delay_seconds": 0.05, "sweep_seconds": 0.2}
        | {"reap_seconds": 0.1, "reap_lock_seconds": 0.05}
    )
    try:
        with (
            structlog.testing.capture_logs() as logs,
            TestClient(create_app(often)),
            connect(server.url) as client,
        ):
            server.stop()
            failed = {"housekeeping_failed", "sweep_failed"}
            assert eventually(lambda: failed <= {entry["event"] for entry in logs})
            server.start()
            old = put_orphan(objects, age_seconds=90_000)
            SmallWorker(TaskStore(client, often), objects).accepted()
            assert eventually(lambda: old not in set(objects.children("jobs/")))
            with closing(Queue(often, server.url)) as queue:
                assert eventually(lambda: queue.waiting(Kind.JOB) == 1)
    finally:
        server.stop()
