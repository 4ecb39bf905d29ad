"""Valkey full, Valkey away: clear errors, nothing half done."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.errors import StoreAway, StoreFull
from jobs.queue import Queue
from jobs.record import Kind, Phase, Progress, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import (
    Answer,
    AsyncTaskReader,
    BeatReport,
    Outcome,
    TaskStore,
    connect,
    connect_async,
)
from jobs.valkey import EmbeddedValkey
from tests.builders import new_job
from tests.machine import trained_job
from tests.servers import free_ports


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path, maxmemory="4mb") as server:
        yield server


def test_a_full_valkey_refuses_new_work_and_lets_old_work_end(
    own_valkey: EmbeddedValkey, settings: Settings
) -> None:
    with connect(own_valkey.url) as client:
        store = TaskStore(client, settings)
        trained = new_job()
        trained_job(store, trained)
        running = new_job()
        store.create_job(running)
        claim = store.claim(Kind.JOB, TaskRef(running.id))
        assert claim is not None
        filler = []
        with pytest.raises(StoreFull) as caught:  # noqa: PT012
            for _ in range(1_000):
                new = new_job(plan={"filler": "x" * 20_000})
                store.create_job(new)
                filler.append(new.id)
        assert (caught.value.code, bool(caught.value.hint)) == ("store_full", True)
        assert filler
        before = client.dbsize()
        with pytest.raises(StoreFull):
            store.create_set(trained.id, SampleSetRequest())
        assert client.dbsize() == before

        report = BeatReport(phase=Phase.TRAINING, progress=Progress(step=1))
        assert not store.beat(claim, report).refused
        assert store.finish(claim, Outcome(status=Status.SUCCEEDED)) is Answer.OK
        for job_id in filler:
            assert store.delete(TaskRef(job_id)) is Answer.OK
        assert store.create_job(new_job()).answer is Answer.CREATED


def test_valkey_away(own_valkey: EmbeddedValkey, settings: Settings) -> None:
    with connect(own_valkey.url) as client:
        store = TaskStore(client, settings)
        new = new_job()
        store.create_job(new)
        own_valkey.stop()
        calls: tuple[Callable[[], object], ...] = (
            store.ping,
            store.reap,
            lambda: store.get_job(new.id),
            lambda: store.list_jobs(),
            lambda: store.events(TaskRef(new.id)),
            lambda: store.claim(Kind.JOB),
            lambda: store.create_job(new_job()),
        )

        def refused_after(call: Callable[[], object]) -> float:
            began = time.monotonic()
            with pytest.raises(StoreAway) as caught:
                call()
            assert caught.value.code == "store_away"
            return time.monotonic() - began

        with ThreadPoolExecutor(len(calls)) as pool:
            assert max(pool.map(refused_after, calls)) < 6
        queue = Queue(settings, own_valkey.url)
        assert queue.ring(TaskRef(new.id)) is False
        with pytest.raises(StoreAway):
            queue.waiting(Kind.JOB)
        queue.close()

        async def read() -> None:
            async_client = connect_async(own_valkey.url)
            try:
                await AsyncTaskReader(async_client, settings).events(TaskRef(new.id))
            finally:
                await async_client.aclose()

        with pytest.raises(StoreAway):
            asyncio.run(read())
        own_valkey.start()
        assert store.get_job(new.id) is not None


def test_a_server_that_never_answers_is_away() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with connect(url, timeout_seconds=0.1) as client:
            began = time.monotonic()
            with pytest.raises(StoreAway):
                TaskStore(client, Settings()).ping()
            assert time.monotonic() - began < 5


def test_a_forgotten_script_is_loaded_again(own_valkey: EmbeddedValkey, settings: Settings) -> None:
    with connect(own_valkey.url) as client:
        store = TaskStore(client, settings)
        store.create_job(new_job())
        client.script_flush()
        assert store.create_job(new_job()).answer is Answer.CREATED


def refusal(url: str, settings: Settings) -> StoreAway:
    with connect(url) as client, pytest.raises(StoreAway) as caught:
        TaskStore(client, settings).get_job("j")
    return caught.value


def test_a_valkey_that_lets_nobody_in_says_what_to_look_at(
    own_valkey: EmbeddedValkey, settings: Settings
) -> None:
    path = own_valkey.url.removeprefix("unix://")
    with connect(own_valkey.url) as client:
        client.acl_setuser("guest", enabled=True, passwords=["+secret"], commands=["+ping"])
    wrong = refusal(f"unix://guest:wrong@{path}", settings)
    assert "secret" not in str(wrong)
    not_allowed = refusal(f"unix://guest:secret@{path}", settings)
    assert "ONEPAIR_VALKEY_URL" in not_allowed.hint


def test_valkeys_protected_mode_is_told_apart(
    own_valkey: EmbeddedValkey, settings: Settings
) -> None:
    address = address_beyond_loopback()
    if address is None:
        pytest.skip("this machine has no address beyond loopback")
    (port,) = free_ports(1)
    with connect(own_valkey.url) as client:
        client.config_set("bind", "*")
        client.config_set("port", str(port))
    assert "protected-mode" in refusal(f"redis://{address}:{port}", settings).hint


def address_beyond_loopback() -> str | None:
    """One of this machine's; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found: str = probe.getsockname()[0]
    return None if found.startswith("127.") else found
