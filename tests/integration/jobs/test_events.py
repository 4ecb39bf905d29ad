"""Events: told in order, without a gap, and never silently dropped; reading writes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import redis

from jobs.record import Job, JobWarning, Kind, Phase, Progress, Status, TaskRef
from jobs.settings import Settings
from jobs.state import (
    AsyncTaskReader,
    BeatReport,
    Claim,
    Outcome,
    TaskStore,
    connect_async,
)
from jobs.valkey import EmbeddedValkey
from tests.builders import ENGINE, checkpoint, new_job


def running(store: TaskStore) -> Claim:
    new = new_job()
    store.create_job(new)
    claim = store.claim(Kind.JOB, TaskRef(new.id))
    assert claim is not None
    return claim


def step(store: TaskStore, claim: Claim, number: int) -> None:
    store.beat(claim, BeatReport(progress=Progress(step=number)))


def test_a_life_in_events(task_store: TaskStore) -> None:
    claim = running(task_store)
    task_store.beat(claim, BeatReport(phase=Phase.TRAINING, progress=Progress(step=1)))
    task_store.beat(claim, BeatReport(warnings=(JobWarning(code="slow", detail="No GPU."),)))
    task_store.publish_checkpoint(claim, checkpoint(claim.ref.job_id, 3), engine=ENGINE)
    task_store.beat(claim, BeatReport(preview_key="jobs/x/sheet.png"))
    task_store.beat(claim)  # tells nothing
    task_store.finish(claim, Outcome(status=Status.SUCCEEDED))
    told = [(event.type, event.data) for event in task_store.events(claim.ref)]
    progress = Progress(step=1).model_dump(mode="json")
    assert told == [
        ("status", {"status": "queued"}),
        ("status", {"status": "running"}),
        ("phase", {"phase": "training"}),
        ("progress", {"phase": "training", "progress": progress}),
        ("warning", {"code": "slow", "detail": "No GPU.", "hint": ""}),
        ("checkpoint", {"step": 3, "final": False}),
        ("preview", {}),
        ("status", {"status": "succeeded"}),
    ]


def test_a_reader_goes_on_where_it_was(task_store: TaskStore) -> None:
    claim = running(task_store)
    seen = task_store.events(claim.ref)
    for number in range(5):
        step(task_store, claim, number)
    later = []
    while batch := task_store.events(claim.ref, (seen + later)[-1].id, count=2):
        assert len(batch) <= 2
        later += batch
    assert [event.data["progress"]["step"] for event in later] == [0, 1, 2, 3, 4]
    assert task_store.events(claim.ref) == seen + later


@pytest.fixture
def short(client: redis.Redis, settings: Settings) -> TaskStore:
    return TaskStore(client, settings.model_copy(update={"events_kept": 5}))


@pytest.mark.parametrize(
    "kind", ["told before the trim", "never told anything", "from the future", "nonsense"]
)
def test_what_can_not_be_told_any_more_is_a_reset(short: TaskStore, kind: str) -> None:
    claim = running(short)
    first = short.events(claim.ref)[0].id
    for number in range(20):
        step(short, claim, number)
    after = {
        "told before the trim": first,
        "never told anything": None,
        "from the future": f"{int(time.time() * 1e3) + 10**6}-0",
        "nonsense": "'; drop table",
    }[kind]
    reset, *rest = short.events(claim.ref, after)
    assert reset.type == "reset"
    assert Job.model_validate(reset.data) == short.get_job(claim.ref.job_id)
    assert rest == []
    step(short, claim, 99)
    assert [event.type for event in short.events(claim.ref, reset.id)] == ["progress"]


def test_a_reader_inside_the_stream_is_not_reset(short: TaskStore) -> None:
    claim = running(short)
    for number in range(20):
        step(short, claim, number)
    kept = short.events(claim.ref, short.events(claim.ref)[0].id)
    assert kept == []
    step(short, claim, 20)
    step(short, claim, 21)
    newest = short.client.xrange(short.keys.events(claim.ref))
    assert isinstance(newest, list)
    assert len(newest) == 5
    told = short.events(claim.ref, newest[0][0])
    assert [event.data["progress"]["step"] for event in told] == [18, 19, 20, 21]


def test_a_finished_job_without_a_stream_tells_its_record(task_store: TaskStore) -> None:
    claim = running(task_store)
    seen = task_store.events(claim.ref)
    task_store.finish(claim, Outcome(status=Status.SUCCEEDED))
    lifetime_ms = task_store.client.pttl(task_store.keys.events(claim.ref))
    assert isinstance(lifetime_ms, int)
    assert 0 < lifetime_ms <= 86_400_000
    task_store.client.delete(task_store.keys.events(claim.ref))
    for after in (None, seen[-1].id):
        (reset,) = task_store.events(claim.ref, after)
        assert (reset.type, reset.data["status"]) == ("reset", "succeeded")
        assert task_store.events(claim.ref, reset.id) == []


def test_an_unknown_task_has_no_events(task_store: TaskStore) -> None:
    assert task_store.events(TaskRef("0" * 32)) == []


def test_reading_writes_nothing(task_store: TaskStore, client: redis.Redis) -> None:
    claim = running(task_store)
    before = client.info("persistence")
    task_store.get(claim.ref)
    task_store.list_jobs(status=Status.FAILED)
    task_store.list_sets(claim.ref.job_id)
    task_store.events(claim.ref)
    task_store.events(claim.ref, "1-1")
    task_store.is_deleted(claim.ref)
    task_store.ping()
    after = client.info("persistence")
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["rdb_changes_since_last_save"] == before["rdb_changes_since_last_save"]


# The asynchronous side ------------------------------------------------------------------------


@asynccontextmanager
async def reader(valkey: EmbeddedValkey, settings: Settings) -> AsyncIterator[AsyncTaskReader]:
    client = connect_async(valkey.url)
    try:
        yield AsyncTaskReader(client, settings)
    finally:
        await client.aclose()


def test_events_are_waited_for(
    valkey: EmbeddedValkey, settings: Settings, task_store: TaskStore
) -> None:
    claim = running(task_store)

    async def scenario() -> None:
        async with reader(valkey, settings) as reading:
            seen = await reading.events(claim.ref)
            assert seen == task_store.events(claim.ref)
            waiting = asyncio.create_task(reading.events(claim.ref, seen[-1].id))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            await asyncio.to_thread(step, task_store, claim, 1)
            told = await asyncio.wait_for(waiting, 5)
            assert [event.type for event in told] == ["progress"]
            assert await reading.events(claim.ref, told[-1].id, block_seconds=0.02) == []
            (reset,) = await reading.events(claim.ref, "1-1")
            assert reset.type == "reset"
            assert await reading.events(TaskRef("0" * 32), block_seconds=5) == []

    asyncio.run(scenario())


def test_a_change_is_waited_for(
    valkey: EmbeddedValkey, settings: Settings, task_store: TaskStore
) -> None:
    claim = running(task_store)

    async def scenario() -> None:
        async with reader(valkey, settings) as reading:
            job = await reading.get(claim.ref)
            assert job == task_store.get(claim.ref)
            assert job is not None
            wait = reading.wait_for_change
            assert await wait(claim.ref, job.version, timeout_seconds=0.02) == job
            assert await wait(claim.ref, job.version - 1, timeout_seconds=60) == job
            waiting = asyncio.create_task(wait(claim.ref, job.version, timeout_seconds=60))
            await asyncio.sleep(0.05)
            await asyncio.to_thread(task_store.request_cancel, claim.ref)
            changed = await asyncio.wait_for(waiting, 5)
            assert changed is not None
            assert changed.status is Status.CANCELLING
            await asyncio.to_thread(task_store.delete, claim.ref)
            assert await wait(claim.ref, 1, timeout_seconds=60) is None
            assert await reading.is_deleted(claim.ref)

    asyncio.run(scenario())
