"""What Prometheus is told of tasks, after things have really happened to them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobs.record import JobFailure, Kind, Phase, SampleSetRequest
from jobs.settings import Settings
from jobs.state import Outcome, TaskStore
from jobs.valkey import EmbeddedValkey
from service.app import create_app
from tests.builders import FAILURE, new_job
from tests.integration.service.client import TestClient
from tests.integration.service.small_worker import SmallWorker
from tests.machine import trained_job

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(gateway: TestClient) -> Samples:
    response = gateway.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_what_waits_runs_and_has_ended(gateway: TestClient, worker: SmallWorker) -> None:
    worker.train(worker.accepted())
    running = worker.claim(worker.accepted())
    worker.beat(running, Phase.TRAINING, 3)
    failed = worker.claim(worker.accepted())
    failure = JobFailure(code="collapsed", detail="flat")
    worker.tasks.finish(failed, Outcome(status="failed", failure=failure))
    for _ in range(2):
        worker.accepted()

    samples = scraped(gateway)

    assert of(samples, "onepair_tasks_queued", kind="job") == 2
    assert of(samples, "onepair_tasks_queued", kind="set") == 0
    assert of(samples, "onepair_tasks_delayed", kind="job") == 0
    assert 0 < (of(samples, "onepair_queue_age_seconds", kind="job") or 0) < 60
    assert of(samples, "onepair_queue_age_seconds", kind="set") == 0
    assert of(samples, "onepair_tasks_running", kind="job", phase="training") == 1
    assert of(samples, "onepair_workers_wanted", kind="job") == 3
    assert of(samples, "onepair_workers_wanted", kind="set") == 0
    assert of(samples, "onepair_tasks_created_total", kind="job") == 5
    assert of(samples, "onepair_tasks_claimed_total", kind="job") == 3
    ended = {"kind": "job", "status": "succeeded", "code": ""}
    assert of(samples, "onepair_tasks_ended_total", **ended) == 1
    ended |= {"status": "failed", "code": "collapsed"}
    assert of(samples, "onepair_tasks_ended_total", **ended) == 1
    assert of(samples, "onepair_tasks_dead") == 0
    assert (of(samples, "onepair_stored_bytes") or 0) > 0
    assert of(samples, "onepair_store_up", store="valkey") == 1
    assert of(samples, "onepair_store_up", store="objects") == 1


def test_losses_and_strikes_by_their_causes(
    gateway: TestClient, worker: SmallWorker, task_store: TaskStore
) -> None:
    released = worker.claim(worker.accepted())
    task_store.release(released)
    struck = worker.claim(worker.accepted())
    task_store.strike(struck, FAILURE)
    lapsed = worker.claim(worker.accepted())
    task_store.client.zadd(task_store.keys.leases, {str(lapsed.ref): 1}, xx=True)
    task_store.reap()

    samples = scraped(gateway)

    assert of(samples, "onepair_tasks_lost_total", kind="job", cause="released") == 1
    assert of(samples, "onepair_tasks_lost_total", kind="job", cause="lease_over") == 1
    assert of(samples, "onepair_tasks_struck_total", kind="job", code=FAILURE.code) == 1
    assert of(samples, "onepair_tasks_delayed", kind="job") == 1
    assert of(samples, "onepair_tasks_queued", kind="job") == 2


def test_a_set_made_by_its_job_is_counted_as_a_set(
    gateway: TestClient, worker: SmallWorker
) -> None:
    claim = worker.claim(worker.accepted())
    worker.checkpoint(claim, 10, final=True)
    worker.tasks.adopt_first_set(claim)
    worker.tasks.finish(claim, Outcome(status="cancelled"))

    samples = scraped(gateway)

    assert of(samples, "onepair_tasks_created_total", kind="set") == 1
    for kind in Kind:
        ended = {"kind": kind, "status": "cancelled", "code": ""}
        assert of(samples, "onepair_tasks_ended_total", **ended) == 1


def test_without_valkey_it_is_said_that_it_is_away(settings: Settings, tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "own") as server:
        own = Settings.model_validate(settings.model_dump() | {"valkey_url": server.url})
        with TestClient(create_app(own), raise_server_exceptions=False) as gateway:
            assert of(scraped(gateway), "onepair_store_up", store="valkey") == 1
            server.stop()
            samples = scraped(gateway)
            assert of(samples, "onepair_store_up", store="valkey") == 0
            assert of(samples, "onepair_store_up", store="objects") == 1
            assert of(samples, "onepair_tasks_queued", kind="job") is None


def test_a_set_asked_for_again_has_not_waited_since_it_was_first_made(
    gateway: TestClient, task_store: TaskStore
) -> None:
    new = new_job()
    trained_job(task_store, new)
    made = task_store.create_set(new.id, SampleSetRequest(n=5)).sample_set
    assert made is not None
    line = task_store.keys.pending(Kind.SET)
    task_store.client.zincrby(line, -86_400e6, str(made.ref))  # its place is of yesterday
    assert (of(scraped(gateway), "onepair_queue_age_seconds", kind="set") or 0) < 60


def test_an_object_store_that_hangs_is_away_and_keeps_no_scrape_waiting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.objects_watch._PATIENCE_SECONDS", 0.3)
    hanging = threading.Event()
    monkeypatch.setattr("jobs.objects.FolderStore.ping", lambda self: hanging.wait(30))
    with TestClient(create_app(settings)) as gateway:
        time.sleep(0.5)
        begun = time.monotonic()
        samples = scraped(gateway)
        hanging.set()
    assert time.monotonic() - begun < 5
    assert of(samples, "onepair_store_up", store="objects") == 0


def test_requests_are_counted_by_route_never_by_id(
    gateway: TestClient, worker: SmallWorker
) -> None:
    job_id = worker.accepted()
    gateway.get(f"/jobs/{job_id}")
    samples = scraped(gateway)
    route = {"method": "GET", "route": "/jobs/{job_id}", "status": "200"}
    assert of(samples, "onepair_http_requests_total", **route) == 1
    assert not any(job_id in value for _, labels in samples for _, value in labels)
