"""CREATE: idempotency, limits, lists, deletion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import redis

from jobs.record import JobRequest, JobWarning, Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, CreateAnswer, Outcome, TaskStore, connect
from jobs.valkey import EmbeddedValkey
from tests.builders import FAILURE, new_job
from tests.machine import trained_job

FINGERPRINT = "f" * 64


def create(store: TaskStore, key: str = "key", **changes: Any) -> CreateAnswer:
    values = {"idempotency_key": key, "fingerprint": FINGERPRINT} | changes
    return store.create_job(new_job(**values))


def test_the_record_is_what_was_given(task_store: TaskStore) -> None:
    given = new_job(
        request=JobRequest(seed=2**62, metadata={"a": [], "b": {}, "c": None, "d": "ü\u2028"}),
        plan={"iterations": None, "seconds": 1e-7},
        owner="alice",
        warnings=(JobWarning(code="ignored", detail="Two pixels."),),
    )
    job = task_store.create_job(given).job
    assert job is not None
    assert (job.request, job.input, tuple(job.classes)) == (
        given.request,
        given.input,
        given.classes,
    )
    assert (job.plan, job.owner, tuple(job.warnings)) == (given.plan, "alice", given.warnings)
    assert (job.status, job.version, job.queue_position) == (Status.QUEUED, 1, 1)
    assert (job.expires_at - job.created_at).days == 30


def test_the_same_key_and_request_give_the_same_job(task_store: TaskStore) -> None:
    first, replay = create(task_store), create(task_store)
    assert (first.answer, replay.answer) == (Answer.CREATED, Answer.REPLAYED)
    assert first.job == replay.job
    assert len(task_store.list_jobs().items) == 1


def test_the_same_key_with_another_request_is_a_conflict(task_store: TaskStore) -> None:
    create(task_store)
    assert create(task_store, fingerprint="0" * 64) == CreateAnswer(answer=Answer.CONFLICT)


def test_a_key_belongs_to_one_owner(task_store: TaskStore) -> None:
    assert create(task_store, owner="alice").answer is Answer.CREATED
    assert create(task_store, owner="bob", fingerprint="0" * 64).answer is Answer.CREATED


def test_the_key_of_a_deleted_job_is_gone(task_store: TaskStore) -> None:
    job = create(task_store).job
    assert job is not None
    task_store.delete(job.ref)
    assert create(task_store).answer is Answer.GONE


def test_a_race_of_one_key_has_one_winner(valkey: EmbeddedValkey, settings: Settings) -> None:
    clients = [connect(valkey.url) for _ in range(12)]
    start = Barrier(len(clients))

    def race(client: redis.Redis) -> CreateAnswer:
        store = TaskStore(client, settings)
        start.wait()
        return create(store)

    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(race, clients))
    for client in clients:
        client.close()
    assert sorted(one.answer for one in answers) == ["created"] + ["replayed"] * 11
    assert len({one.job.id for one in answers if one.job}) == 1


def test_unfinished_jobs_of_a_key_are_limited(client: redis.Redis, settings: Settings) -> None:
    store = TaskStore(client, settings.model_copy(update={"max_jobs_per_key": 2}))
    first = store.create_job(new_job(owner="alice")).job
    store.create_job(new_job(owner="alice"))
    assert store.create_job(new_job(owner="alice")).answer is Answer.TOO_MANY
    assert store.create_job(new_job(owner="bob")).answer is Answer.CREATED
    assert first is not None
    store.request_cancel(first.ref)
    assert store.create_job(new_job(owner="alice")).answer is Answer.CREATED


def test_unfinished_sets_are_limited_for_a_job_and_for_a_key(task_store: TaskStore) -> None:
    jobs = [new_job(owner="alice") for _ in range(3)]
    for new in jobs:
        trained_job(task_store, new)
    answers = [
        task_store.create_set(new.id, SampleSetRequest(n=n), owner="alice").answer
        for new, count in zip(jobs, (5, 4, 1), strict=True)
        for n in range(1, count + 1)
    ]
    assert answers == ["created"] * 4 + ["too_many"] + ["created"] * 4 + ["too_many"]
    claim = task_store.claim(Kind.SET)
    assert claim is not None
    task_store.finish(claim, Outcome(status=Status.FAILED, failure=FAILURE))
    last = task_store.create_set(jobs[2].id, SampleSetRequest(n=1), owner="alice")
    assert last.answer is Answer.CREATED


def test_a_restarted_set_begins_anew(task_store: TaskStore) -> None:
    new = new_job()
    trained_job(task_store, new)
    created = task_store.create_set(new.id, SampleSetRequest()).sample_set
    claim = task_store.claim(Kind.SET)
    assert claim is not None
    assert created is not None
    task_store.finish(claim, Outcome(status=Status.FAILED, failure=FAILURE))
    failed = task_store.get_set(new.id, created.id)
    again = task_store.create_set(new.id, SampleSetRequest()).sample_set
    assert failed is not None
    assert again is not None
    assert failed.failure == FAILURE
    assert (again.id, again.status, again.failure, again.token) == (
        created.id, Status.QUEUED, None, None,
    )  # fmt: skip
    assert again.created_at == created.created_at
    assert again.version > failed.version
    assert task_store.beat(claim).refused


def test_lists_are_newest_first_in_pages(task_store: TaskStore) -> None:
    made = [task_store.create_job(new_job(owner="ab"[n % 2])).job for n in range(7)]
    ids = [job.id for job in reversed(made) if job]
    seen, after = [], None
    while True:
        page = task_store.list_jobs(limit=3, after=after)
        assert len(page.items) <= 3
        seen += [job.id for job in page.items]
        after = page.next
        if after is None:
            break
    assert seen == ids
    assert [job.id for job in task_store.list_jobs(owner="b").items] == ids[1::2]
    task_store.request_cancel(TaskRef(ids[2]))
    cancelled = task_store.list_jobs(status=Status.CANCELLED)
    assert ([job.id for job in cancelled.items], cancelled.next) == ([ids[2]], None)


def test_a_page_goes_on_after_a_deleted_cursor_and_with_equal_times(
    task_store: TaskStore, client: redis.Redis
) -> None:
    for _ in range(5):
        task_store.create_job(new_job())
    index = task_store.keys.index(None)
    rows = client.zrange(index, 0, -1)
    assert isinstance(rows, list)
    same_us = "1700000000000000"
    for job_id in rows:
        client.zadd(index, {job_id: same_us})
        client.hset(task_store.keys.record(TaskRef(job_id)), "created_us", same_us)
    first = task_store.list_jobs(limit=2)
    task_store.delete(first.items[-1].ref)
    rest = task_store.list_jobs(limit=9, after=first.next)
    assert {job.id for job in (*first.items, *rest.items)} == set(rows)
    assert len(rest.items) == 3


@pytest.mark.parametrize("cursor", ["", "x", "12", "-", "1e9-abc", "9" * 40 + "-a"])
def test_a_foreign_cursor_is_refused(task_store: TaskStore, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        task_store.list_jobs(after=cursor)


def test_deleting_a_job_removes_its_sets_and_every_trace(
    task_store: TaskStore, client: redis.Redis
) -> None:
    new = new_job(owner="alice")
    trained_job(task_store, new)
    made = task_store.create_set(new.id, SampleSetRequest(), owner="alice").sample_set
    assert made is not None
    claim = task_store.claim(Kind.SET)
    assert claim is not None
    assert task_store.delete(TaskRef(new.id)) is Answer.OK
    assert task_store.get(made.ref) is None
    assert task_store.is_deleted(made.ref)
    assert task_store.beat(claim).refused
    left = {
        key.removeprefix(task_store.keys.tag)
        for key in client.scan_iter(f"{task_store.keys.tag}*")
        if new.id in key
    }
    assert left == {f":tomb:{new.id}"}
    lifetime_ms = client.pttl(f"{task_store.keys.tag}:tomb:{new.id}")
    assert isinstance(lifetime_ms, int)
    assert lifetime_ms / 1e3 == pytest.approx(7 * 86_400, abs=60)
    # Of the whole service, only the sweep, the fence and what is counted are left.
    rest = {
        key.removeprefix(task_store.keys.tag) for key in client.scan_iter(f"{task_store.keys.tag}*")
    }
    assert rest == left | {":sweep", ":fence", ":tally"}
