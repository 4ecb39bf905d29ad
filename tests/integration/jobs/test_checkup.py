"""Real servers that are not as they have to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from jobs.checkup import (
    Finding,
    Verdict,
    look_at_objects,
    look_at_tasks,
    look_at_valkey,
)
from jobs.objects import FolderStore, ObjectInfo
from jobs.objects.s3 import S3Store
from jobs.record import TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey
from tests.builders import new_job
from tests.servers import SeaweedFS


@pytest.fixture
def own(tmp_path: Path) -> Iterator[redis.Redis]:
    """A Valkey that the test may spoil."""
    with EmbeddedValkey(tmp_path) as server, connect(server.url) as client:
        yield client


def named(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def test_the_embedded_valkey_is_as_it_has_to_be(own: redis.Redis) -> None:
    findings = named(look_at_valkey(own))
    assert {finding.verdict for finding in findings.values()} == {Verdict.OK}
    assert set(findings) == {
        *("Valkey", "appendonly", "appendfsync", "maxmemory-policy", "memory", "Valkey's clock")
    }


@pytest.mark.parametrize(
    ("setting", "value", "name", "verdict"),
    [
        ("appendonly", "no", "appendonly", Verdict.BAD),
        ("appendfsync", "everysec", "appendfsync", Verdict.WARN),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy", Verdict.BAD),
        ("maxmemory", "0", "memory", Verdict.WARN),
        ("maxmemory", "1200kb", "memory", Verdict.WARN),
    ],
)
def test_a_wrong_setting_is_found_with_what_to_do(
    own: redis.Redis, setting: str, value: str, name: str, verdict: Verdict
) -> None:
    own.config_set(setting, value)
    finding = named(look_at_valkey(own))[name]
    assert finding.verdict is verdict
    assert len(finding.hint) > 10


def test_no_valkey() -> None:
    (finding,) = look_at_valkey(connect("unix:///nonexistent.sock", timeout_seconds=0.2))
    assert (finding.name, finding.verdict) == ("Valkey", Verdict.BAD)


@pytest.mark.parametrize(
    ("info", "verdict"),
    [({"redis_version": "6.2.1"}, Verdict.BAD), ({"redis_version": "7.2.4"}, Verdict.OK)],
)
def test_an_old_redis(
    own: redis.Redis, monkeypatch: pytest.MonkeyPatch, info: dict[str, str], verdict: Verdict
) -> None:
    real = own.info()
    del real["valkey_version"]
    monkeypatch.setattr(own, "info", lambda: {**real, **info})
    assert named(look_at_valkey(own))["Redis"].verdict is verdict


def test_a_clock_that_is_off(own: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    real = own.time
    monkeypatch.setattr(own, "time", lambda: (real()[0] - 60, 0))
    finding = named(look_at_valkey(own))["Valkey's clock"]
    assert finding.verdict is Verdict.WARN
    assert "behind" in finding.detail


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_good_store_keeps_nothing_of_the_probe(
    kind: str, objects: FolderStore, seaweed: SeaweedFS
) -> None:
    store = objects if kind == "folder" else S3Store.from_settings(seaweed.settings())
    found = named(look_at_objects(store))
    assert set(found) == {"object store", "object store's clock"}
    assert all(finding.verdict is Verdict.OK for finding in found.values()), found
    assert list(store.list("doctor/")) == []


def test_a_store_with_a_wrong_key(seaweed: SeaweedFS) -> None:
    wrong = seaweed.settings(s3_secret_key="another")
    (finding,) = look_at_objects(S3Store.from_settings(wrong))
    assert finding.verdict is Verdict.BAD
    assert finding.detail.startswith("can't write")


def test_a_store_that_overwrites(objects: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As S3 servers do that don't know If-None-Match."""
    monkeypatch.setattr(
        objects, "put_if_absent", lambda key, data: bool(objects.put_bytes(key, data))
    )
    finding = named(look_at_objects(objects))["object store"]
    assert finding.verdict is Verdict.BAD
    assert "create once" in finding.detail


def test_a_stores_clock_that_is_off(objects: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    put = objects.put_bytes

    def earlier(key: str, data: bytes) -> ObjectInfo:
        info = put(key, data)
        return replace(info, modified_at=info.modified_at - timedelta(minutes=20))

    monkeypatch.setattr(objects, "put_bytes", earlier)
    finding = named(look_at_objects(objects))["object store's clock"]
    assert finding.verdict is Verdict.WARN
    assert finding.detail == "1199.0 s behind ours"  # one may be cut off


@pytest.fixture
def waiting_since(task_store: TaskStore) -> Callable[[float], TaskRef]:
    """A queued job that has waited for so many seconds."""

    def wait(seconds: float) -> TaskRef:
        new = new_job()
        task_store.create_job(new)
        ref = TaskRef(new.id)
        task_store.client.zincrby(task_store.keys.pending(ref.kind), -seconds * 1e6, str(ref))
        record = task_store.keys.record(ref)
        task_store.client.hincrby(record, "not_before_us", round(-seconds * 1e6))
        return ref

    return wait


def test_nobody_works(task_store: TaskStore, waiting_since: Callable[[float], TaskRef]) -> None:
    assert named(look_at_tasks(task_store))["jobs"].verdict is Verdict.OK
    ref = waiting_since(60)
    assert named(look_at_tasks(task_store))["jobs"].verdict is Verdict.OK
    waiting_since(3_600)
    finding = named(look_at_tasks(task_store))["jobs"]
    assert finding.verdict is Verdict.BAD
    assert "2 waiting" in finding.detail
    task_store.claim(ref.kind, ref)
    assert named(look_at_tasks(task_store))["jobs"].verdict is Verdict.OK


def test_what_was_given_up_is_told(task_store: TaskStore, settings: Settings) -> None:
    assert "given up" not in named(look_at_tasks(task_store))
    task_store.client.lpush(task_store.keys.dead, "x")
    assert named(look_at_tasks(task_store))["given up"].verdict is Verdict.WARN
