"""Rounds of housekeeping: ring what is unheard, sweep what is deleted, restore what was lost."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import structlog
from pydantic import SecretStr

from jobs.errors import StoreAway
from jobs.housekeeping import run_round, sweep_orphans, sweep_orphans_if_due
from jobs.keeping import discard_leftovers
from jobs.keys import attempt_prefix, input_key, new_job_id, record_key, task_prefix
from jobs.objects import FolderStore
from jobs.objects.s3 import S3Store
from jobs.queue import Queue
from jobs.record import Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, Claim, Outcome, TaskStore
from jobs.terminal import archive_record, keys_of, rebuild, settle
from tests.builders import ENGINE, FAILURE, checkpoint, new_job, set_result
from tests.machine import trained_job


@pytest.fixture
def store(client: redis.Redis, settings: Settings) -> TaskStore:
    """No lock between rounds."""
    return TaskStore(client, settings.model_copy(update={"reap_lock_seconds": 0.001}))


def let_time_pass(store: TaskStore, what: str, ref: TaskRef) -> None:
    """Set a due time back: what the server's clock would do in a minute or two."""
    changed = store.client.zadd(f"{store.keys.tag}:{what}", {str(ref): 1}, xx=True, ch=True)
    assert changed == 1


def queued(store: TaskStore) -> TaskRef:
    new = new_job()
    store.create_job(new)
    return TaskRef(new.id)


def put_old(objects: FolderStore, key: str) -> None:
    """An object that was written longer ago than ``orphan_seconds``."""
    objects.put_bytes(key, b"x")
    os.utime(objects.root / key, (time.time() - 90_000,) * 2)


def wait_out_the_lock() -> None:
    time.sleep(0.003)


def test_one_process_at_a_time(task_store: TaskStore) -> None:
    assert not task_store.reap().busy
    assert task_store.reap().busy


def test_an_unheard_job_is_rung_once_a_minute(
    store: TaskStore, objects: FolderStore, queue: Queue, client: redis.Redis
) -> None:
    ref = queued(store)
    assert run_round(store, objects, queue).ring == (ref,)
    assert queue.waiting(Kind.JOB) == 1
    wait_out_the_lock()
    assert run_round(store, objects, queue).ring == ()
    wait_out_the_lock()
    client.hset(store.keys.record(ref), "rung_us", str(int((time.time() - 61) * 1e6)))
    # Its message still waits in the list: one is enough.
    assert run_round(store, objects, queue).ring == ()
    wait_out_the_lock()
    assert store.reap(waiting_jobs=0).ring == (ref,)


def test_no_more_are_rung_than_are_missing_in_the_list(store: TaskStore) -> None:
    refs = [queued(store) for _ in range(5)]
    assert store.reap(waiting_jobs=3, waiting_sets=9).ring == tuple(refs[:2])


def test_a_round_is_bounded(store: TaskStore, client: redis.Redis) -> None:
    template = store.keys.record(queued(store))
    pipe = client.pipeline()
    refs = [TaskRef(new_job_id()) for _ in range(120)]
    for ref in refs:
        pipe.copy(template, store.keys.record(ref))
        pipe.zadd(store.keys.pending(Kind.JOB), {str(ref): 1})
    pipe.execute()
    assert len(store.reap().ring) == 100
    pipe = client.pipeline()
    for ref in refs:
        pipe.zrem(store.keys.pending(Kind.JOB), str(ref))
        pipe.hset(store.keys.record(ref), "status", "running")
        pipe.zadd(store.keys.leases, {str(ref): 1})
    pipe.execute()
    wait_out_the_lock()
    assert len(store.reap().requeued) == 100
    wait_out_the_lock()
    assert len(store.reap().requeued) == 20


def test_what_has_no_record_leaves_the_queues(store: TaskStore, client: redis.Redis) -> None:
    ghost = TaskRef(new_job_id())
    for key in (store.keys.pending(Kind.JOB), store.keys.leases):
        client.zadd(key, {str(ghost): 1})
    assert store.reap().ring == ()
    assert client.exists(store.keys.pending(Kind.JOB), store.keys.leases) == 0
    assert client.exists(store.keys.record(ghost)) == 0


def test_a_deleted_jobs_objects_are_removed_twice(
    store: TaskStore, objects: FolderStore, queue: Queue
) -> None:
    ref = queued(store)
    claim = store.claim(Kind.JOB, ref)
    assert claim is not None
    store.delete(ref)
    objects.delete_prefix(task_prefix(ref))
    objects.put_bytes(f"{claim.prefix}late.bin", b"a worker was still writing")
    assert run_round(store, objects, queue).sweep == ()
    wait_out_the_lock()
    let_time_pass(store, "sweep", ref)
    assert run_round(store, objects, queue).sweep == (ref,)
    assert list(objects.list(task_prefix(ref))) == []
    wait_out_the_lock()
    assert run_round(store, objects, queue).sweep == ()
    assert store.is_deleted(ref)


def test_a_deleted_set_can_be_made_again_after_its_sweep(
    store: TaskStore, objects: FolderStore, queue: Queue
) -> None:
    new = new_job()
    trained_job(store, new)
    made = store.create_set(new.id, SampleSetRequest()).sample_set
    assert made is not None
    store.delete(made.ref)
    assert store.create_set(new.id, SampleSetRequest()).answer is Answer.GONE
    let_time_pass(store, "sweep", made.ref)
    assert run_round(store, objects, queue).sweep == (made.ref,)
    assert store.create_set(new.id, SampleSetRequest()).answer is Answer.CREATED


def test_what_is_over_its_retention_goes(
    store: TaskStore, objects: FolderStore, queue: Queue, client: redis.Redis
) -> None:
    ended, unfinished = queued(store), queued(store)
    store.request_cancel(ended)
    kinds = ("input/image.png", "a1/checkpoint-5.safetensors", f"samples/{'0' * 64}/a1/archive.zip")
    for ref in (ended, unfinished):
        for name in kinds:
            objects.put_bytes(f"{task_prefix(ref)}{name}", b"data")
        client.zadd(f"{store.keys.tag}:expiry", {ref.job_id: 1})
    with structlog.testing.capture_logs() as logs:
        assert run_round(store, objects, queue).expired == (ended,)
    told = [entry["job"] for entry in logs if entry["event"] == "job_expired"]
    assert told == [ended.job_id]
    assert store.is_deleted(ended)
    assert store.get(unfinished) is not None
    left = [info.key.split("/")[1] for info in objects.list("jobs/")]
    assert left == [unfinished.job_id] * len(kinds)


def test_orphans_are_swept_when_they_are_old(store: TaskStore, objects: FolderStore) -> None:
    kept, old, young = queued(store).job_id, new_job_id(), new_job_id()
    objects.put_bytes(input_key(young, "image.png"), b"image")
    for job_id in (kept, old):
        put_old(objects, input_key(job_id, "image.png"))
    assert sweep_orphans(store, objects) == 1
    assert set(objects.children("jobs/")) == {kept, young}


def test_what_rebuild_can_restore_is_no_orphan(store: TaskStore, objects: FolderStore) -> None:
    """After a loss of Valkey a sweep may come before the operator's rebuild."""
    lost, deleted = TaskRef(new_job_id()), queued(store)
    for ref in (lost, deleted):
        put_old(objects, record_key(ref))
    store.delete(deleted)
    assert sweep_orphans(store, objects) == 1
    assert list(objects.children("jobs/")) == [lost.job_id]


def test_one_sweep_in_a_period_by_one_process(
    store: TaskStore, objects: FolderStore, client: redis.Redis
) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: sweep_orphans_if_due(store, objects), range(8)))
    assert sorted(results, key=str) == [0] + [None] * 7
    left_ms = client.pttl(store.keys.orphan_sweep)
    assert isinstance(left_ms, int)
    assert 86_390_000 < left_ms <= 86_400_000
    client.delete(store.keys.orphan_sweep)
    assert sweep_orphans_if_due(store, objects) == 0


def test_a_sweep_that_was_stopped_is_due_again(store: TaskStore, objects: FolderStore) -> None:
    for job_id in (new_job_id(), new_job_id()):
        put_old(objects, input_key(job_id, "image.png"))
    answers = iter([False, True, True])
    assert sweep_orphans_if_due(store, objects, lambda: next(answers)) == 1
    assert sweep_orphans_if_due(store, objects) == 1
    assert sweep_orphans_if_due(store, objects) is None


def test_a_sweep_that_failed_is_due_again(store: TaskStore, objects: FolderStore) -> None:
    put_old(objects, input_key(new_job_id(), "image.png"))
    away = S3Store.from_settings(
        Settings(
            store="s3",
            s3_endpoint_url="http://127.0.0.1:9",
            s3_access_key=SecretStr("key"),
            s3_secret_key=SecretStr("secret"),
        )
    )
    with pytest.raises(StoreAway):
        sweep_orphans_if_due(store, away)
    assert sweep_orphans_if_due(store, objects) == 1


# How tasks end in the object store ------------------------------------------------------------


def succeeded(claim: Claim, score: float) -> Outcome:
    return Outcome(
        status=Status.SUCCEEDED, metrics={"score": score}, result=set_result(claim.prefix)
    )


def test_two_attempts_have_one_result(store: TaskStore, objects: FolderStore) -> None:
    """The first uploads everything and dies before FINISH; the second adopts its result."""
    ref = queued(store)
    first = store.claim(Kind.JOB, ref)
    let_time_pass(store, "leases", ref)
    second = store.claim(Kind.JOB, ref)
    assert first is not None
    assert second is not None
    for claim in (first, second):
        for key in keys_of(set_result(claim.prefix)):
            objects.put_bytes(key, b"zip")
    ours, theirs = succeeded(first, 1.0), succeeded(second, 2.0)
    assert settle(objects, first, ours) == ours
    assert settle(objects, first, ours) == ours
    assert settle(objects, second, theirs) == ours
    assert store.finish(first, ours) is Answer.REFUSED
    discard_leftovers(store, objects, ref, first.token)  # refused, but its files are the result
    discard_leftovers(store, objects, ref, second.token)
    assert objects.head(f"{first.prefix}samples.zip") is not None
    assert objects.head(f"{second.prefix}samples.zip") is None


def test_only_ends_are_settled_and_archived(store: TaskStore, objects: FolderStore) -> None:
    ref = queued(store)
    claim = store.claim(Kind.JOB, ref)
    assert claim is not None
    with pytest.raises(ValueError, match="success"):
        settle(objects, claim, Outcome(status=Status.FAILED, failure=FAILURE))
    with pytest.raises(ValueError, match="terminal"):
        archive_record(objects, claim.job)
    with pytest.raises(ValueError, match="terminal"):
        store.restore(claim.job)


def test_everything_finished_comes_back_after_a_total_loss(
    store: TaskStore, objects: FolderStore, client: redis.Redis
) -> None:
    new = new_job(owner="alice")
    store.create_job(new)
    claim = store.claim(Kind.JOB, TaskRef(new.id))
    assert claim is not None
    prefix = attempt_prefix(claim.ref, claim.token)
    for step in (10, 20, 30):
        made = checkpoint(new.id, step, final=step == 30, token=claim.token)
        store.publish_checkpoint(claim, made, engine=ENGINE)
    first = store.adopt_first_set(claim)
    assert first is not None
    result = set_result(prefix)
    store.finish(claim, Outcome(status=Status.SUCCEEDED, metrics={"a": 1.5}, result=result))
    failed = queued(store)
    failing = store.claim(Kind.JOB, failed)
    assert failing is not None
    store.finish(failing, Outcome(status=Status.FAILED, failure=FAILURE))
    unfinished, deleted = queued(store), queued(store)
    store.request_cancel(deleted)
    before = [store.get(ref) for ref in (claim.ref, first.ref, failed, deleted)]
    stored = client.hget(f"{store.keys.tag}:bytes", "alice")
    assert stored == str(70_000 + 2 * 1_000 + result.size_bytes)
    for record in before:
        assert record is not None
        archive_record(objects, record)
    objects.put_bytes(record_key(TaskRef(new_job_id())), b"{torn")

    for key in client.scan_iter(f"{store.keys.tag}*"):
        client.delete(key)
    store.delete(deleted)
    assert rebuild(store, objects) == 4
    assert rebuild(store, objects) == 0

    assert [store.get(ref) for ref in (claim.ref, first.ref, failed, deleted)] == before
    assert store.get(unfinished) is None
    assert client.hget(f"{store.keys.tag}:bytes", "alice") == stored
    assert [job.id for job in store.list_jobs(owner="alice").items] == [new.id]
    assert [one.id for one in store.list_sets(new.id)] == [first.id]
    assert store.create_set(new.id, SampleSetRequest(n=4)).answer is Answer.EXISTS
    assert store.create_set(new.id, SampleSetRequest(n=5)).answer is Answer.CREATED
    new_claim = store.claim(Kind.SET)
    assert new_claim is not None
    assert int(new_claim.token) > int(claim.token)
