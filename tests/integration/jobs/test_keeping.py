"""What attempts have stored in vain goes; what a record names stays."""

from __future__ import annotations

import time

import pytest
import redis

from jobs.errors import UnreadableResult
from jobs.housekeeping import run_round
from jobs.keeping import discard_leftovers, keep_end
from jobs.keys import attempt_prefix, input_key, record_key, result_key
from jobs.objects import FolderStore
from jobs.queue import Queue
from jobs.record import Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import BeatReport, Claim, Outcome, TaskStore
from jobs.terminal import keys_of, settle
from tests.builders import ENGINE, FAILURE, checkpoint, new_job, set_result


def claimed(store: TaskStore, objects: FolderStore) -> Claim:
    """A job of one attempt, with its input."""
    new = new_job()
    store.create_job(new)
    objects.put_bytes(input_key(new.id, "image.png"), b"image")
    claim = store.claim(Kind.JOB, TaskRef(new.id))
    assert claim is not None
    return claim


def claimed_again(store: TaskStore, ref: TaskRef) -> Claim:
    """The lease ran out meanwhile."""
    assert store.client.zadd(store.keys.leases, {str(ref): 1}, xx=True, ch=True) == 1
    claim = store.claim(ref.kind, ref)
    assert claim is not None
    return claim


def published(
    store: TaskStore, objects: FolderStore, claim: Claim, step: int, *, final: bool = False
) -> str:
    one = checkpoint(claim.ref.job_id, step, final=final, token=claim.token)
    objects.put_bytes(one.key, b"weights")
    assert not store.publish_checkpoint(claim, one, engine=ENGINE).refused
    return one.key


def put(objects: FolderStore, key: str) -> str:
    objects.put_bytes(key, b"x")
    return key


def left(objects: FolderStore, ref: TaskRef) -> set[str]:
    return {info.key for info in objects.list(f"jobs/{ref.job_id}/")}


def test_who_lost_the_lease_leaves_its_checkpoints_to_the_next(
    task_store: TaskStore, objects: FolderStore
) -> None:
    first = claimed(task_store, objects)
    image = input_key(first.ref.job_id, "image.png")
    checkpoints = {published(task_store, objects, first, step) for step in (10, 20)}
    preview = put(objects, f"{first.prefix}preview-20.png")
    task_store.beat(first, BeatReport(preview_key=preview))
    put(objects, f"{first.prefix}checkpoint-000030.safetensors")  # never published
    second = claimed_again(task_store, first.ref)
    unpublished = put(objects, f"{second.prefix}checkpoint-000021.safetensors")

    assert discard_leftovers(task_store, objects, first.ref, first.token) == 1

    assert left(objects, first.ref) == {image, preview, unpublished} | checkpoints


def test_after_the_end_nothing_is_left_of_earlier_attempts(
    task_store: TaskStore, objects: FolderStore
) -> None:
    first = claimed(task_store, objects)
    image = input_key(first.ref.job_id, "image.png")
    final = published(task_store, objects, first, 10, final=True)
    made = task_store.adopt_first_set(first)
    assert made is not None
    half = put(objects, f"{attempt_prefix(made.ref, first.token)}samples.zip")
    second = claimed_again(task_store, first.ref)
    task_store.adopt_first_set(second)
    result = set_result(attempt_prefix(made.ref, second.token))
    files = {put(objects, key) for key in (result.archive_key, result.items_key)}
    files.add(put(objects, str(result.sheet_key)))
    task_store.finish(second, Outcome(status=Status.SUCCEEDED, result=result))

    assert discard_leftovers(task_store, objects, second.ref, second.token) == 1

    assert half not in left(objects, second.ref)
    assert left(objects, second.ref) == {image, final} | files


def test_a_result_whose_files_are_gone_is_settled_anew(
    task_store: TaskStore, objects: FolderStore
) -> None:
    """Cut off from Valkey but not from the store, an old attempt settles after it was tidied up."""
    first = claimed(task_store, objects)
    second = claimed_again(task_store, first.ref)
    old, new = (
        Outcome(status=Status.SUCCEEDED, result=set_result(one.prefix)) for one in (first, second)
    )
    assert old.result is not None
    assert new.result is not None
    for key in keys_of(old.result):
        put(objects, key)
    discard_leftovers(task_store, objects, first.ref, second.token)
    assert settle(objects, first, old) == old
    for key in keys_of(new.result):
        put(objects, key)

    assert settle(objects, second, new) == new
    assert settle(objects, second, new) == new
    discard_leftovers(task_store, objects, first.ref, second.token)
    assert set(keys_of(new.result)) <= left(objects, first.ref)


def test_a_damaged_result_lets_nothing_be_removed(
    task_store: TaskStore, objects: FolderStore
) -> None:
    claim = claimed(task_store, objects)
    put(objects, f"{claim.prefix}archive.zip")
    objects.put_bytes(result_key(claim.ref), b"{")
    with pytest.raises(UnreadableResult):
        discard_leftovers(task_store, objects, claim.ref, claim.token)
    assert f"{claim.prefix}archive.zip" in left(objects, claim.ref)


def test_a_set_that_its_job_dropped_leaves_nothing(
    task_store: TaskStore, objects: FolderStore
) -> None:
    """The final checkpoint was broken, training ended in another, and so did the set's id."""
    claim = claimed(task_store, objects)
    published(task_store, objects, claim, 10, final=True)
    dropped = task_store.adopt_first_set(claim)
    assert dropped is not None
    half = put(objects, f"{attempt_prefix(dropped.ref, claim.token)}archive.zip")
    published(task_store, objects, claim, 20, final=True)
    adopted = task_store.adopt_first_set(claim)
    assert adopted is not None
    assert adopted.id != dropped.id
    task_store.finish(claim, Outcome(status=Status.CANCELLED))

    keep_end(task_store, objects, claim.ref)

    assert half not in left(objects, claim.ref)


def test_who_dies_before_an_end_is_kept_is_made_up_for(
    client: redis.Redis, settings: Settings, objects: FolderStore, queue: Queue
) -> None:
    store = TaskStore(client, settings.model_copy(update={"reap_lock_seconds": 1e-6}))
    claim = claimed(store, objects)
    published(store, objects, claim, 10, final=True)
    made = store.adopt_first_set(claim)
    assert made is not None
    store.finish(claim, Outcome(status=Status.CANCELLED))  # and its worker is killed
    assert run_round(store, objects, queue).unkept == ()
    unkept = store.keys.unkept
    for ref in client.zrange(unkept, 0, -1):
        client.zadd(unkept, {ref: 1})
    time.sleep(0.003)  # the lock of the round before ends

    assert set(run_round(store, objects, queue).unkept) == {claim.ref, made.ref}

    assert objects.head(record_key(claim.ref)) is not None
    assert objects.head(record_key(made.ref)) is not None
    assert client.exists(unkept) == 0


@pytest.mark.parametrize("end", ["cancelled in line", "given up", "deleted"])
def test_every_end_is_kept_or_forgotten(
    end: str, task_store: TaskStore, objects: FolderStore
) -> None:
    claim = claimed(task_store, objects)
    if end == "given up":
        task_store.finish(claim, Outcome(status=Status.FAILED, failure=FAILURE))
    else:
        task_store.release(claim)
        task_store.request_cancel(claim.ref)
    unkept = task_store.keys.unkept
    assert task_store.client.zrange(unkept, 0, -1) == [str(claim.ref)]
    if end == "deleted":
        task_store.delete(claim.ref)
    else:
        keep_end(task_store, objects, claim.ref)
        assert objects.head(record_key(claim.ref)) is not None
    assert task_store.client.exists(unkept) == 0


def test_a_checkpoint_that_a_set_is_made_of_stays(
    task_store: TaskStore, objects: FolderStore
) -> None:
    claim = claimed(task_store, objects)
    pinned = published(task_store, objects, claim, 10, final=True)
    task_store.create_set(claim.ref.job_id, SampleSetRequest(n=7))
    for step in (20, 30, 40):
        published(task_store, objects, claim, step)
    again = claimed_again(task_store, claim.ref)
    a_set = task_store.claim(Kind.SET)
    assert a_set is not None
    half = put(objects, f"{a_set.prefix}samples.zip")

    discard_leftovers(task_store, objects, claim.ref, again.token)

    assert {pinned, half} <= left(objects, claim.ref)


def test_of_a_deleted_job_nothing_stays(task_store: TaskStore, objects: FolderStore) -> None:
    claim = claimed(task_store, objects)
    published(task_store, objects, claim, 10)
    task_store.delete(claim.ref)

    discard_leftovers(task_store, objects, claim.ref, claim.token)

    assert left(objects, claim.ref) == {input_key(claim.ref.job_id, "image.png")}


def test_a_job_that_valkey_has_lost_is_left_alone(
    task_store: TaskStore, objects: FolderStore
) -> None:
    claim = claimed(task_store, objects)
    published(task_store, objects, claim, 10)
    before = left(objects, claim.ref)
    for key in task_store.client.scan_iter(f"{task_store.keys.tag}:*"):
        task_store.client.delete(key)

    assert discard_leftovers(task_store, objects, claim.ref, claim.token) == 0

    assert left(objects, claim.ref) == before
