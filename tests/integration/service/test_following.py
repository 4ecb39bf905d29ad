"""Looking at a job, waiting for it, following its events, acting on it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable

import pytest

from jobs.record import Phase
from jobs.settings import Settings
from jobs.state import TaskStore
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import pair_files
from tests.integration.service.refusals import assert_refused
from tests.integration.service.small_worker import SmallWorker


def parse_stream(text: str) -> list[dict[str, str]]:
    """Events of a stream: field → value; comments and retry left out."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "event" in fields:
            events.append(fields)
    return events


def test_an_unchanged_job_is_304(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    etag = gateway.get(f"/jobs/{job_id}").headers["etag"]
    unchanged = gateway.get(f"/jobs/{job_id}", headers={"If-None-Match": etag})
    assert unchanged.status_code == 304
    assert unchanged.content == b""
    worker.beat(worker.claim(job_id), Phase.TRAINING, 1)
    changed = gateway.get(f"/jobs/{job_id}", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.json()["phase"] == "training"
    assert changed.headers["etag"] != etag


def test_waiting_ends_with_a_change(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    timer = threading.Timer(0.5, lambda: worker.claim(job_id))
    begun = time.monotonic()
    timer.start()
    job = gateway.get(f"/jobs/{job_id}", params={"wait": 30}).json()
    timer.join()
    assert job["status"] == "running"
    assert 0.3 < time.monotonic() - begun < 10


def test_waiting_ends_at_once_for_who_is_behind(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    etag = gateway.get(f"/jobs/{job_id}").headers["etag"]
    worker.claim(job_id)
    begun = time.monotonic()
    job = gateway.get(f"/jobs/{job_id}", params={"wait": 30}, headers={"If-None-Match": etag})
    assert job.status_code == 200
    assert time.monotonic() - begun < 5


def test_waiting_ends_with_the_time(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    etag = gateway.get(f"/jobs/{job_id}").headers["etag"]
    begun = time.monotonic()
    answer = gateway.get(f"/jobs/{job_id}", params={"wait": 1}, headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert time.monotonic() - begun >= 0.9
    assert gateway.get(f"/jobs/{job_id}", params={"wait": 1000}).status_code == 422


OF_A_JOB = [
    ("GET", ""),
    ("DELETE", ""),
    ("POST", "/cancel"),
    ("POST", "/finish"),
    ("GET", "/events"),
    ("GET", "/preview"),
    ("GET", "/samples"),
    ("POST", "/samples"),
    ("GET", f"/samples/{'0' * 64}"),
    ("GET", f"/samples/{'0' * 64}/archive"),
]


@pytest.mark.parametrize("job_id", [uuid.UUID(int=7).hex, "x", "A" * 32, "0" * 31, "%00"])
def test_unknown_ids(
    job_id: str, gateway: TestClient, stored: Callable[[], list[str]], task_store: TaskStore
) -> None:
    for method, rest in OF_A_JOB:
        assert_refused(gateway.request(method, f"/jobs/{job_id}{rest}"), 404, "unknown_job")
    assert stored() == []
    assert task_store.list_jobs().items == ()


def test_an_id_with_a_path_in_it_is_no_address(gateway: TestClient) -> None:
    for method, rest in OF_A_JOB:
        assert_refused(gateway.request(method, f"/jobs/..%2f..{rest}"), 404, "not_found")


def test_addresses_and_methods_that_do_not_exist(gateway: TestClient) -> None:
    missing = gateway.get("/nowhere")
    assert_refused(missing, 404, "not_found")
    wrong = gateway.put("/jobs")
    assert_refused(wrong, 405, "method_not_allowed")


def test_the_event_stream_tells_the_whole_story_and_ends(
    gateway: TestClient, worker: SmallWorker
) -> None:
    job_id = worker.accepted()
    worker.train(job_id)
    response = gateway.get(f"/jobs/{job_id}/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = parse_stream(response.text)
    assert [event["event"] for event in events][:2] == ["status", "status"]
    assert {"phase", "progress", "checkpoint"} <= {event["event"] for event in events}
    assert json.loads(events[-1]["data"]) == {"status": "succeeded"}
    assert response.text.startswith("retry: ")


def test_an_event_stream_goes_on_where_it_stopped(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    worker.train(job_id)
    events = parse_stream(gateway.get(f"/jobs/{job_id}/events").text)
    rest = gateway.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": events[1]["id"]})
    assert parse_stream(rest.text) == events[2:]
    done = gateway.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": events[-1]["id"]})
    assert done.status_code == 204


def test_an_event_stream_waits_for_what_happens(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()

    def work() -> None:
        time.sleep(0.3)
        worker.train(job_id)

    thread = threading.Thread(target=work)
    thread.start()
    events = parse_stream(gateway.get(f"/jobs/{job_id}/events").text)
    thread.join()
    assert json.loads(events[-1]["data"])["status"] == "succeeded"


def test_a_quiet_event_stream_sends_heartbeats(
    gateway: TestClient, worker: SmallWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.routes.events.HEARTBEAT_SECONDS", 0.2)
    job_id = worker.accepted()
    timer = threading.Timer(3.0, lambda: gateway.post(f"/jobs/{job_id}/cancel"))
    timer.start()
    text = gateway.get(f"/jobs/{job_id}/events").text
    timer.join()
    assert text.count(": waiting") >= 2


def test_who_has_missed_events_gets_the_whole_job_without_internals(
    settings: Settings,
) -> None:
    from jobs.objects import open_store
    from jobs.state import connect

    assert settings.valkey_url is not None
    short = settings.model_copy(update={"events_kept": 5})
    with (
        connect(settings.valkey_url.get_secret_value()) as connection,
        TestClient(create_app(short)) as gateway,
    ):
        worker = SmallWorker(TaskStore(connection, short), open_store(short))
        job_id = worker.accepted()
        claim = worker.claim(job_id)
        for step in range(20):
            worker.beat(claim, Phase.TRAINING, step)
        page = gateway.get(
            f"/jobs/{job_id}/events",
            headers={"Last-Event-ID": "1-1", "Accept": "application/json"},
        ).json()
    first = page["items"][0]
    assert first["type"] == "reset"
    assert first["data"]["id"] == job_id
    assert not {"token", "owner", "input", "preview_key"} & set(first["data"])


def test_events_as_json(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    accept = {"Accept": "application/json"}
    page = gateway.get(f"/jobs/{job_id}/events", headers=accept).json()
    assert [item["data"] for item in page["items"]] == [{"status": "queued"}]
    worker.claim(job_id)
    news = gateway.get(
        f"/jobs/{job_id}/events", headers={**accept, "Last-Event-ID": page["next"]}
    ).json()
    assert [item["data"] for item in news["items"]] == [{"status": "running"}]


def test_the_preview_is_the_newest_picture(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    none = gateway.get(f"/jobs/{job_id}/preview")
    assert (none.status_code, none.json()["code"]) == (404, "no_preview")
    claim = worker.claim(job_id)
    worker.beat(claim, Phase.TRAINING, 1, preview=b"first")
    first = gateway.get(f"/jobs/{job_id}/preview")
    assert (first.content, first.headers["content-type"]) == (b"first", "image/png")
    etag = {"If-None-Match": first.headers["etag"]}
    assert gateway.get(f"/jobs/{job_id}/preview", headers=etag).status_code == 304
    worker.beat(claim, Phase.TRAINING, 2, preview=b"second")
    assert gateway.get(f"/jobs/{job_id}/preview", headers=etag).content == b"second"


def test_cancelling(gateway: TestClient, worker: SmallWorker) -> None:
    waiting, running = worker.accepted(), worker.accepted()
    assert gateway.post(f"/jobs/{waiting}/cancel").json()["status"] == "cancelled"
    again = gateway.post(f"/jobs/{waiting}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "already_ended")
    claim = worker.claim(running)
    response = gateway.post(f"/jobs/{running}/cancel")
    assert (response.status_code, response.json()["status"]) == (202, "cancelling")
    assert worker.tasks.beat(claim).cancel
    finish = gateway.post(f"/jobs/{running}/finish")
    assert (finish.status_code, finish.json()["code"]) == (409, "cancelling")


def test_finishing_early(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    claim = worker.claim(job_id)
    early = gateway.post(f"/jobs/{job_id}/finish")
    assert (early.status_code, early.json()["code"]) == (409, "nothing_learned")
    worker.checkpoint(claim, 10, final=False)
    assert gateway.post(f"/jobs/{job_id}/finish").status_code == 202
    assert worker.tasks.beat(claim).finish


def test_deleting_removes_everything(
    gateway: TestClient, worker: SmallWorker, stored: Callable[[], list[str]]
) -> None:
    job_id = worker.accepted()
    worker.train(job_id)
    assert stored()
    assert gateway.delete(f"/jobs/{job_id}").status_code == 204
    assert stored() == []
    gone = gateway.get(f"/jobs/{job_id}")
    assert (gone.status_code, gone.json()["code"]) == (410, "gone")
    assert gateway.delete(f"/jobs/{job_id}").json()["code"] == "gone"
    assert gateway.delete(f"/jobs/{uuid.uuid4().hex}").json()["code"] == "unknown_job"


def test_too_many_unfinished_jobs(settings: Settings, stored: Callable[[], list[str]]) -> None:
    strict = settings.model_copy(update={"max_jobs_per_key": 1})
    with TestClient(create_app(strict)) as gateway:
        assert gateway.post("/jobs", files=pair_files()).status_code == 202
        refused = gateway.post("/jobs", files=pair_files())
        assert_refused(refused, 429, "too_many_jobs")
    assert len(stored()) == 3
