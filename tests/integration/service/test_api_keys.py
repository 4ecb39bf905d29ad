"""API keys over HTTP: nobody gets in without one, and nobody sees another's jobs."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from jobs.api_keys import ApiKeyFile
from jobs.objects import FolderStore
from jobs.settings import Settings
from jobs.state import TaskStore
from jobs.state.key_use import last_uses
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.live import LiveGateway
from tests.integration.service.pairs import pair_files
from tests.integration.service.refusals import assert_refused
from tests.integration.service.small_worker import SmallWorker

Headers = dict[str, str]


@pytest.fixture
def keys(settings: Settings) -> ApiKeyFile:
    return ApiKeyFile(settings.api_keys_path)


@pytest.fixture
def make_key(keys: ApiKeyFile) -> Callable[[str], Headers]:
    return lambda name: {"Authorization": f"Bearer {keys.create(name)[1]}"}


def _submit(gateway: TestClient, headers: Headers, **more: str) -> dict[str, Any]:
    response = gateway.post("/jobs", files=pair_files(), headers={**headers, **more})
    assert response.status_code == 202, response.text
    return dict(response.json())


def test_without_keys_nobody_is_asked(gateway: TestClient) -> None:
    assert gateway.get("/jobs").status_code == 200
    assert gateway.get("/jobs", headers={"Authorization": "Bearer x"}).status_code == 200
    assert "RateLimit" not in gateway.get("/jobs").headers


def test_the_first_key_closes_the_door_at_once(
    gateway: TestClient, make_key: Callable[[str], Headers], stored: Callable[[], list[str]]
) -> None:
    assert gateway.get("/jobs").status_code == 200
    headers = make_key("lab")
    problem = assert_refused(gateway.get("/jobs"), 401, "no_api_key")
    assert "ONEPAIR_API_KEY" in problem["hint"]
    refused = gateway.post("/jobs", files=pair_files())
    assert_refused(refused, 401, "no_api_key")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert stored() == []
    for wrong in ("Bearer onepair_000000000000_x", "Bearer x", "Bearer \xfc"):
        answer = gateway.get("/jobs", headers={"Authorization": wrong.encode("latin-1")})
        assert_refused(answer, 401, "wrong_api_key")
    assert_refused(
        gateway.get("/jobs", headers={"Authorization": "Basic bGFiOng="}), 401, "no_api_key"
    )
    assert gateway.get("/jobs", headers=headers).status_code == 200
    for public in ("/livez", "/readyz", "/version", "/presets", "/openapi.json", "/metrics"):
        assert gateway.get(public).status_code == 200


def test_a_revoked_key_is_refused_from_the_next_request_on(
    gateway: TestClient, keys: ApiKeyFile, make_key: Callable[[str], Headers]
) -> None:
    headers, others = make_key("lab"), make_key("other")
    assert gateway.get("/jobs", headers=headers).status_code == 200
    keys.revoke("lab")
    assert_refused(gateway.get("/jobs", headers=headers), 401, "revoked_api_key")
    assert gateway.get("/jobs", headers=others).status_code == 200


def test_losing_the_file_opens_nothing(
    gateway: TestClient, keys: ApiKeyFile, make_key: Callable[[str], Headers]
) -> None:
    headers = make_key("lab")
    assert gateway.get("/jobs", headers=headers).status_code == 200
    keys.path.unlink()
    assert_refused(gateway.get("/jobs"), 401, "no_api_key")
    assert gateway.get("/jobs", headers=headers).status_code == 200
    keys.path.write_text("{")
    assert_refused(gateway.get("/jobs", headers=headers), 503, "keys_unreadable")
    assert_refused(gateway.get("/jobs"), 503, "keys_unreadable")


def test_losing_the_file_opens_nothing_after_a_restart_either(
    settings: Settings, keys: ApiKeyFile, make_key: Callable[[str], Headers]
) -> None:
    make_key("lab")
    keys.path.unlink()
    with TestClient(create_app(settings)) as gateway:
        assert_refused(gateway.get("/jobs"), 401, "no_api_key")


def test_a_stranger_is_refused_before_the_body_is_read(
    settings: Settings, make_key: Callable[[str], Headers], tmp_path: Path
) -> None:
    make_key("lab")
    with LiveGateway(settings, tmp_path / "log", {}) as live:
        assert live.http.base_url.port is not None
        with socket.create_connection(("127.0.0.1", live.http.base_url.port), 30) as line:
            line.sendall(
                b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            )
            assert line.recv(100).startswith(b"HTTP/1.1 401")


def test_a_named_file_that_is_missing_lets_nobody_in(settings: Settings) -> None:
    named = settings.model_copy(update={"api_keys_file": settings.data_dir / "secret.json"})
    with TestClient(create_app(named)) as gateway:
        assert_refused(gateway.get("/jobs"), 401, "no_api_key")


@pytest.fixture
def trained(
    gateway: TestClient,
    make_key: Callable[[str], Headers],
    task_store: TaskStore,
    objects: FolderStore,
) -> tuple[str, str, Headers, Headers]:
    """A job with a set that is made, its owner's headers, and another's."""
    owner, other = make_key("owner"), make_key("other")
    worker = SmallWorker(task_store, objects)
    job_id = _submit(gateway, owner)["id"]
    worker.train(job_id)
    started = gateway.post(f"/jobs/{job_id}/samples", params={"n": 4}, headers=owner)
    set_id = started.json()["id"]
    worker.finish(worker.claim(job_id, set_id), archive=b"zip")
    return job_id, set_id, owner, other


def _routes_of_jobs(gateway: TestClient) -> list[tuple[str, str]]:
    paths = gateway.get("/openapi.json").json()["paths"]
    named = [(m.upper(), path) for path, methods in paths.items() for m in methods]
    hidden = [
        ("HEAD", "/jobs/{job_id}/samples"),
        ("HEAD", "/jobs/{job_id}/samples/{set_id}/archive"),
    ]
    return [(method, path) for method, path in [*named, *hidden] if "{job_id}" in path]


def test_no_route_shows_or_touches_another_keys_job(
    gateway: TestClient,
    trained: tuple[str, str, Headers, Headers],
    task_store: TaskStore,
    stored: Callable[[], list[str]],
) -> None:
    job_id, set_id, owner, other = trained
    routes = _routes_of_jobs(gateway)
    assert len(routes) > 12
    kept, record = stored(), task_store.get_job(job_id)
    for method, path in routes:
        address = path.format(job_id=job_id, set_id=set_id)
        answer = gateway.request(method, address, headers=other)
        assert answer.status_code == 404, (method, path)
        if method != "HEAD":
            assert_refused(answer, 404, "unknown_job")
        strange = gateway.request(method, address)
        assert strange.status_code == 401, (method, path)
    assert (stored(), task_store.get_job(job_id)) == (kept, record)
    # its owner sees what the other was refused
    for address in (f"/jobs/{job_id}", f"/jobs/{job_id}/samples/{set_id}/archive"):
        assert gateway.get(address, headers=owner).status_code == 200


def test_a_list_holds_ones_own_jobs(
    gateway: TestClient, trained: tuple[str, str, Headers, Headers]
) -> None:
    job_id, _, owner, other = trained
    theirs = _submit(gateway, other)["id"]
    for headers, expected in ((owner, job_id), (other, theirs)):
        items = gateway.get("/jobs", headers=headers).json()["items"]
        assert [job["id"] for job in items] == [expected]


def test_a_deleted_job_is_gone_for_its_owner_and_unknown_to_others(
    gateway: TestClient, trained: tuple[str, str, Headers, Headers]
) -> None:
    job_id, set_id, owner, other = trained
    assert gateway.delete(f"/jobs/{job_id}/samples/{set_id}", headers=owner).status_code == 204
    path = f"/jobs/{job_id}/samples/{set_id}"
    assert_refused(gateway.get(path, headers=owner), 410, "gone")
    assert_refused(gateway.get(path, headers=other), 404, "unknown_job")
    assert gateway.delete(f"/jobs/{job_id}", headers=owner).status_code == 204
    assert_refused(gateway.get(f"/jobs/{job_id}", headers=owner), 410, "gone")
    assert_refused(gateway.get(f"/jobs/{job_id}", headers=other), 404, "unknown_job")
    assert_refused(gateway.get(f"/jobs/{'0' * 32}", headers=owner), 404, "unknown_job")


def test_what_was_made_before_there_were_keys_is_no_keys(
    gateway: TestClient, make_key: Callable[[str], Headers]
) -> None:
    job_id = _submit(gateway, {})["id"]
    headers = make_key("lab")
    assert_refused(gateway.get(f"/jobs/{job_id}", headers=headers), 404, "unknown_job")
    assert gateway.get("/jobs", headers=headers).json()["items"] == []


def test_idempotency_keys_of_two_callers_are_two(
    gateway: TestClient, make_key: Callable[[str], Headers]
) -> None:
    one, two = make_key("one"), make_key("two")
    first = _submit(gateway, one, **{"Idempotency-Key": "k"})["id"]
    assert _submit(gateway, two, **{"Idempotency-Key": "k"})["id"] != first
    assert _submit(gateway, one, **{"Idempotency-Key": "k"})["id"] == first


def test_unfinished_jobs_are_counted_by_key(
    settings: Settings, make_key: Callable[[str], Headers]
) -> None:
    narrow = settings.model_copy(update={"max_jobs_per_key": 1})
    with TestClient(create_app(narrow)) as gateway:
        one, two = make_key("one"), make_key("two")
        _submit(gateway, one)
        refused = gateway.post("/jobs", files=pair_files(), headers=one)
        assert_refused(refused, 429, "too_many_jobs")
        _submit(gateway, two)


def test_ended_jobs_are_counted_until_they_are_deleted(
    settings: Settings, make_key: Callable[[str], Headers]
) -> None:
    """Each is a few kilobytes of Valkey's memory, which belongs to all keys."""
    narrow = settings.model_copy(update={"max_kept_jobs_per_key": 2})
    with TestClient(create_app(narrow)) as gateway:
        one, two = make_key("one"), make_key("two")
        jobs = [_submit(gateway, one)["id"] for _ in range(2)]
        for job_id in jobs:
            assert gateway.post(f"/jobs/{job_id}/cancel", headers=one).status_code == 202
        refused = gateway.post("/jobs", files=pair_files(), headers=one)
        assert_refused(refused, 429, "too_many_kept_jobs")
        _submit(gateway, two)
        assert gateway.delete(f"/jobs/{jobs[0]}", headers=one).status_code == 204
        _submit(gateway, one)


def test_what_a_key_has_stored_is_bounded(
    settings: Settings,
    make_key: Callable[[str], Headers],
    task_store: TaskStore,
    objects: FolderStore,
    stored: Callable[[], list[str]],
) -> None:
    narrow = settings.model_copy(update={"max_bytes_per_key": 1_000})
    with TestClient(create_app(narrow)) as gateway:
        one, two = make_key("one"), make_key("two")
        job_id = _submit(gateway, one)["id"]
        SmallWorker(task_store, objects).train(job_id)
        before = stored()
        refused = gateway.post("/jobs", files=pair_files(), headers=one)
        assert_refused(refused, 429, "storage_used_up")
        refused = gateway.post(f"/jobs/{job_id}/samples", params={"n": 4}, headers=one)
        assert_refused(refused, 429, "storage_used_up")
        assert stored() == before
        _submit(gateway, two)
        assert gateway.delete(f"/jobs/{job_id}", headers=one).status_code == 204
        _submit(gateway, one)


def test_requests_are_counted_by_key(
    settings: Settings, make_key: Callable[[str], Headers]
) -> None:
    narrow = settings.model_copy(update={"requests_per_minute": 3})
    with TestClient(create_app(narrow)) as gateway:
        one, two = make_key("one"), make_key("two")
        answers = [gateway.get("/jobs", headers=one) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
        left = [answer.headers["ratelimit"].split(";")[1] for answer in answers]
        assert left == ["r=2", "r=1", "r=0"]
        assert answers[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
        refused = gateway.get("/jobs", headers=one)
        assert_refused(refused, 429, "too_many_requests")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert gateway.get("/jobs", headers=two).status_code == 200
        assert gateway.get("/livez").status_code == 200


def test_gateways_can_share_the_count(
    settings: Settings, make_key: Callable[[str], Headers]
) -> None:
    assert settings.valkey_url is not None
    shared = settings.model_copy(
        update={"requests_per_minute": 2, "rate_store_url": settings.valkey_url}
    )
    headers = make_key("lab")
    with TestClient(create_app(shared)) as one, TestClient(create_app(shared)) as two:
        assert one.get("/jobs", headers=headers).status_code == 200
        assert two.get("/jobs", headers=headers).status_code == 200
        assert_refused(one.get("/jobs", headers=headers), 429, "too_many_requests")


def test_where_nobody_counts_requests_are_served(
    settings: Settings, make_key: Callable[[str], Headers]
) -> None:
    away = Settings.model_validate(
        {**settings.model_dump(), "rate_store_url": "redis://127.0.0.1:1/0"}
    )
    with TestClient(create_app(away)) as gateway:
        assert gateway.get("/jobs", headers=make_key("lab")).status_code == 200


def test_a_counter_that_never_answers_is_not_waited_for(
    settings: Settings, make_key: Callable[[str], Headers]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        mute = Settings.model_validate({**settings.model_dump(), "rate_store_url": url})
        with TestClient(create_app(mute)) as gateway:
            began = time.monotonic()
            assert gateway.get("/jobs", headers=make_key("lab")).status_code == 200
            assert time.monotonic() - began < 5


def test_the_last_use_is_noted(
    gateway: TestClient,
    keys: ApiKeyFile,
    make_key: Callable[[str], Headers],
    client: redis.Redis,
    settings: Settings,
) -> None:
    headers = make_key("lab")
    assert last_uses(client, settings) == {}
    gateway.get("/jobs", headers=headers)
    assert list(last_uses(client, settings)) == [keys.read()[0].id]


def test_our_own_faults_are_no_pages_either(
    gateway: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(TaskStore, "list_jobs", fail)
    answer = gateway.get("/jobs")
    assert answer.status_code == 500
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_answers_are_no_pages(gateway: TestClient) -> None:
    for path in ("/jobs", "/livez", "/nowhere", "/openapi.json"):
        headers = gateway.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["referrer-policy"] == "no-referrer"
    assert "content-security-policy" not in gateway.get("/docs").headers
