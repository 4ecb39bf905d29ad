"""Sample sets over HTTP: naming, starting, waiting, downloading."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import pytest

from jobs.record import Phase
from jobs.settings import Settings
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.refusals import assert_refused
from tests.integration.service.small_worker import SmallWorker

ARCHIVE = os.urandom(300_000)


@pytest.fixture
def trained(gateway: TestClient, worker: SmallWorker) -> str:
    job_id = worker.accepted()
    worker.train(job_id)
    return job_id


@pytest.fixture
def ready(gateway: TestClient, worker: SmallWorker, trained: str) -> str:
    """Address of a finished set of five."""
    started = gateway.get(f"/jobs/{trained}/samples", params={"n": 5})
    set_id = started.json()["id"]
    worker.finish(worker.claim(trained, set_id), ARCHIVE)
    return f"/jobs/{trained}/samples/{set_id}"


def test_asking_starts_a_set_and_then_finds_it(
    gateway: TestClient, worker: SmallWorker, trained: str
) -> None:
    started = gateway.get(f"/jobs/{trained}/samples", params={"n": 5, "seed": 3})
    assert started.status_code == 202, started.text
    assert started.headers["cache-control"] == "no-store"
    assert int(started.headers["retry-after"]) > 0
    body = started.json()
    assert started.headers["location"] == f"/jobs/{trained}/samples/{body['id']}"
    assert body["status"] == "queued"
    claim = worker.claim(trained, body["id"])
    worker.beat(claim, Phase.REFINING, 40)
    running = gateway.get(f"/jobs/{trained}/samples", params={"n": 5, "seed": 3})
    assert running.status_code == 202
    assert running.json()["phase"] == "refining"
    assert running.headers["retry-after"] == "12"
    worker.finish(claim, ARCHIVE)
    ready = gateway.get(f"/jobs/{trained}/samples", params={"n": 5, "seed": 3})
    assert ready.status_code == 200
    found = ready.json()
    assert found["id"] == body["id"]
    assert (found["requested"], found["kept"], found["rejected"]) == (5, 4, 1)
    assert found["download"]["sha256"] == hashlib.sha256(ARCHIVE).hexdigest()
    assert found["download"]["size_bytes"] == len(ARCHIVE)
    assert [item["index"] for item in found["items"]] == list(range(5))
    assert gateway.get(found["contact_sheet_url"]).content == b"sheet"


def test_defaults_are_part_of_the_name(gateway: TestClient, trained: str) -> None:
    url = f"/jobs/{trained}/samples"
    named = gateway.get(url, params={"n": 100, "reject_fraction": 0.15, "seed": 0}).json()["id"]
    assert gateway.get(url).json()["id"] == named
    assert gateway.post(url).json()["id"] == named
    assert gateway.get(url, params={"keep": 85}).json()["id"] == named
    assert gateway.get(url, params={"n": 101}).json()["id"] != named


def test_head_and_prefetch_never_start_a_set(
    gateway: TestClient, worker: SmallWorker, trained: str
) -> None:
    url = f"/jobs/{trained}/samples"
    assert gateway.head(url).status_code == 404
    prefetched = gateway.get(url, headers={"Sec-Purpose": "prefetch;prerender"})
    assert (prefetched.status_code, prefetched.json()["code"]) == (404, "unknown_set")
    assert worker.tasks.list_sets(trained) == []
    gateway.post(url)
    assert gateway.head(url).status_code == 202


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": 10_001}, "n"),
        ({"n": "ten"}, "n"),
        ({"reject_fraction": 1}, "reject_fraction"),
        ({"reject_fraction": -0.1}, "reject_fraction"),
        ({"reject_fraction": "nan"}, "reject_fraction"),
        ({"seed": -1}, "seed"),
        ({"keep": 0}, "keep"),
        ({"keep": 5, "n": 5}, "keep"),
        ({"keep": 2, "reject_fraction": 0.9999999999999999}, "keep"),
        ({"keep": 9_000}, "keep"),
        ({"number": 5}, "number"),
    ],
)
def test_wrong_parameters_are_named_and_start_nothing(
    params: dict[str, int | float | str],
    field: str,
    gateway: TestClient,
    worker: SmallWorker,
    trained: str,
    stored: Callable[[], list[str]],
) -> None:
    before = stored()
    for method in ("GET", "POST"):
        response = gateway.request(method, f"/jobs/{trained}/samples", params=params)
        problem = assert_refused(response, 422, "invalid_request")
        assert [error["field"] for error in problem["errors"]] == [field]
    assert gateway.head(f"/jobs/{trained}/samples", params=params).status_code == 422
    assert worker.tasks.list_sets(trained) == []
    assert stored() == before


def test_before_training_has_ended_the_progress_is_told(
    gateway: TestClient, worker: SmallWorker, stored: Callable[[], list[str]]
) -> None:
    job_id = worker.accepted()
    before = stored()
    for method in ("GET", "POST"):
        assert_refused(gateway.request(method, f"/jobs/{job_id}/samples"), 409, "not_trained")
    assert worker.tasks.list_sets(job_id) == []
    assert stored() == before
    claim = worker.claim(job_id)
    worker.beat(claim, Phase.TRAINING, 30)
    worker.checkpoint(claim, 30, final=False)
    refused = gateway.get(f"/jobs/{job_id}/samples").json()
    assert refused["code"] == "not_trained"
    assert refused["job"]["progress"]["step"] == 30
    assert "step 30 of 100" in refused["detail"]


def test_a_job_that_learned_nothing_has_no_samples(
    gateway: TestClient, worker: SmallWorker
) -> None:
    job_id = worker.accepted()
    gateway.post(f"/jobs/{job_id}/cancel")
    for method in ("GET", "POST"):
        assert_refused(gateway.request(method, f"/jobs/{job_id}/samples"), 409, "no_checkpoint")


def test_too_many_unfinished_sets(gateway: TestClient, trained: str) -> None:
    url = f"/jobs/{trained}/samples"
    for n in range(1, 5):
        assert gateway.post(url, params={"n": n}).status_code == 202
    refused = gateway.post(url, params={"n": 5})
    assert_refused(refused, 429, "too_many_sets")


def test_an_archive_before_its_time(gateway: TestClient, trained: str) -> None:
    set_id = gateway.post(f"/jobs/{trained}/samples").json()["id"]
    refused = gateway.get(f"/jobs/{trained}/samples/{set_id}/archive")
    assert_refused(refused, 409, "not_ready")
    unknown = gateway.get(f"/jobs/{trained}/samples/{'0' * 64}/archive")
    assert_refused(unknown, 404, "unknown_set")


def test_the_whole_archive(gateway: TestClient, ready: str) -> None:
    response = gateway.get(f"{ready}/archive")
    assert (response.status_code, response.content) == (200, ARCHIVE)
    assert response.headers["content-type"] == "application/zip"
    assert response.headers["accept-ranges"] == "bytes"
    assert ".zip" in response.headers["content-disposition"]
    head = gateway.head(f"{ready}/archive")
    assert head.headers["content-length"] == str(len(ARCHIVE))
    assert head.content == b""
    etag = {"If-None-Match": response.headers["etag"]}
    assert gateway.get(f"{ready}/archive", headers=etag).status_code == 304
    assert gateway.get(f"{ready}/archive", params={"format": "coco"}).status_code == 422


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [("bytes=0-99", 0, 100), ("bytes=299990-", 299_990, 300_000), ("bytes=-5", 299_995, 300_000)],
)
def test_a_part_of_the_archive(
    wanted: str, start: int, end: int, gateway: TestClient, ready: str
) -> None:
    response = gateway.get(f"{ready}/archive", headers={"Range": wanted})
    assert (response.status_code, response.content) == (206, ARCHIVE[start:end])
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/300000"


def test_a_part_of_another_file_is_the_whole_file(gateway: TestClient, ready: str) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert gateway.get(f"{ready}/archive", headers=headers).status_code == 200


def test_a_part_beyond_the_end(gateway: TestClient, ready: str) -> None:
    response = gateway.get(f"{ready}/archive", headers={"Range": "bytes=300000-"})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.headers["content-range"] == "bytes */300000"


def test_items_come_in_pages(gateway: TestClient, ready: str) -> None:
    first = gateway.get(ready, params={"items_limit": 3}).json()
    rest = gateway.get(ready, params={"items_limit": 3, "items_after": first["items_next"]}).json()
    assert [item["index"] for item in first["items"] + rest["items"]] == list(range(5))
    assert rest["items_next"] is None


def test_cancelling_and_deleting_a_set(
    gateway: TestClient, ready: str, trained: str, stored: Callable[[], list[str]]
) -> None:
    done = gateway.post(f"{ready}/cancel")
    assert (done.status_code, done.json()["code"]) == (409, "already_ended")
    assert gateway.delete(ready).status_code == 204
    assert gateway.get(ready).json()["code"] == "gone"
    assert not [key for key in stored() if "/sets/" in key]
    again = gateway.post(f"/jobs/{trained}/samples", params={"n": 5})
    assert (again.status_code, again.json()["code"]) == (409, "being_deleted")
    other = gateway.post(f"/jobs/{trained}/samples", params={"n": 6}).json()
    cancelled = gateway.post(f"/jobs/{trained}/samples/{other['id']}/cancel").json()
    assert cancelled["status"] == "cancelled"
    looked_at = gateway.get(f"/jobs/{trained}/samples", params={"n": 6})
    assert (looked_at.status_code, looked_at.json()["status"]) == (200, "cancelled")
    assert gateway.post(f"/jobs/{trained}/samples", params={"n": 6}).json()["status"] == "queued"


def test_a_set_that_its_job_is_making(gateway: TestClient, worker: SmallWorker) -> None:
    job_id = worker.accepted()
    claim = worker.claim(job_id)
    worker.checkpoint(claim, 100, final=True)
    made = worker.tasks.adopt_first_set(claim)
    assert made is not None
    url = f"/jobs/{job_id}/samples/{made.id}"
    assert gateway.get(f"/jobs/{job_id}/samples").json()["id"] == made.id
    for refused in (gateway.post(f"{url}/cancel"), gateway.delete(url)):
        assert (refused.status_code, refused.json()["code"]) == (409, "made_by_job")


def test_following_a_set(gateway: TestClient, ready: str) -> None:
    text = gateway.get(f"{ready}/events").text
    assert 'data: {"status":"succeeded"}' in text


def test_delivery_by_presigned_url(settings: Settings) -> None:
    """The gateway only signs; that the store honours the URL is tested with the store."""
    from jobs.objects import open_store
    from jobs.state import TaskStore, connect

    assert settings.valkey_url is not None
    with connect(settings.valkey_url.get_secret_value()) as connection:
        with TestClient(create_app(settings)) as gateway:
            worker = SmallWorker(TaskStore(connection, settings), open_store(settings))
            job_id = worker.accepted()
            worker.train(job_id)
            set_id = gateway.get(f"/jobs/{job_id}/samples", params={"n": 5}).json()["id"]
            worker.finish(worker.claim(job_id, set_id), ARCHIVE)
        presigning = Settings.model_validate(
            settings.model_dump()
            | {
                "store": "s3",
                "delivery": "presign",
                "s3_endpoint_url": "http://127.0.0.1:9",
                "s3_public_url": "https://files.example.org",
                "s3_access_key": "key",
                "s3_secret_key": "secret",
            }
        )
        with TestClient(create_app(presigning)) as gateway:
            response = gateway.get(
                f"/jobs/{job_id}/samples/{set_id}/archive", follow_redirects=False
            )
    assert response.status_code == 303
    assert response.headers["location"].startswith("https://files.example.org/")
    assert "X-Amz-Signature" in response.headers["location"]
