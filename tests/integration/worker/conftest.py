"""A worker's runtime whose child follows a script, on a real Valkey and a real folder."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.objects import ObjectStore
from jobs.record import Job, JobRequest, SampleSetRequest, TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore
from tests.builders import new_job
from worker.supervisor import Supervisor
from worker.workshop import Workshop

SCRIPTED_CHILD = (sys.executable, str(Path(__file__).with_name("scripted_child.py")))


def _wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@dataclass
class Bench:
    """Posts scripted jobs and runs them."""

    settings: Settings
    store: TaskStore
    objects: ObjectStore
    folder: Path

    def post(self, n: int | None = 4, **script: Any) -> str:
        wants = SampleSetRequest(n=n) if n else None
        plan = {"steps": 30, "log": str(self.folder / "log"), **script}
        job = new_job(request=JobRequest(first_set=wants), plan=plan)
        self.objects.put_bytes(job.input.image_key, b"image")
        self.objects.put_bytes(job.input.mask_key, b"mask")
        self.objects.put_bytes(job.input.pair_key, b"{}")
        created = self.store.create_job(job).job
        assert created is not None
        return created.id

    def trouble(self, kind: str) -> str:
        path = self.folder / "trouble"
        path.write_text(kind)
        return str(path)

    def job(self, job_id: str) -> Job:
        job = self.store.get_job(job_id)
        assert job is not None
        return job

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    def supervisor(
        self, objects: ObjectStore | None = None, *, stop_seconds: float = 5.0
    ) -> Supervisor:
        shop = Workshop(
            settings=self.settings,
            store=self.store,
            objects=objects or self.objects,
            child_command=SCRIPTED_CHILD,
            folder=self.folder / "work",
            stop_seconds=stop_seconds,
        )
        supervisor = Supervisor(shop)
        supervisor.start()
        return supervisor


@pytest.fixture
def settings(settings: Settings) -> Settings:
    quick = {
        "lease_seconds": 3.0,
        "beat_seconds": 0.5,
        "retry_base_seconds": 0.1,
        "retry_max_seconds": 0.2,
    }
    return settings.model_copy(update=quick)


@pytest.fixture
def bench(settings: Settings, task_store: TaskStore, objects: ObjectStore, tmp_path: Path) -> Bench:
    return Bench(settings, task_store, objects, tmp_path)


@pytest.fixture
def run(bench: Bench) -> Iterator[Callable[[str], Job]]:
    """Runs a job to its end on one supervisor, ringing until it is terminal."""
    supervisor = bench.supervisor()

    def run_job(job_id: str) -> Job:
        deadline = time.monotonic() + 30
        while not bench.job(job_id).status.terminal:
            assert time.monotonic() < deadline, bench.job(job_id)
            supervisor.run(TaskRef(job_id))
            time.sleep(0.05)
        return bench.job(job_id)

    yield run_job
    supervisor.stop()
    supervisor.join(10)
    assert not supervisor.is_alive


def _in_background(function: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def wait_until() -> Callable[..., None]:
    return _wait_until


@pytest.fixture
def in_background() -> Callable[..., threading.Thread]:
    return _in_background
