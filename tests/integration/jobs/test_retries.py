"""Strikes, losses, checkpoints, flags: what a job remembers of its attempts."""

from __future__ import annotations

import pytest
import redis

from jobs.record import Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, Claim, Outcome, TaskStore
from tests.builders import ENGINE, FAILURE, checkpoint, new_job, set_result


@pytest.fixture
def store(client: redis.Redis, settings: Settings) -> TaskStore:
    """Delays of a microsecond, so that every retry is due at once."""
    quick = {"retry_base_seconds": 1e-6, "retry_max_seconds": 1e-6, "reap_lock_seconds": 0.001}
    return TaskStore(client, settings.model_copy(update=quick))


def claim_again(store: TaskStore, ref: TaskRef) -> Claim:
    claim = store.claim(Kind.JOB, ref)
    assert claim is not None
    return claim


@pytest.fixture
def ref(store: TaskStore) -> TaskRef:
    new = new_job()
    store.create_job(new)
    return TaskRef(new.id)


def publish(store: TaskStore, claim: Claim, step: int, *, final: bool = False) -> tuple[str, ...]:
    made = checkpoint(claim.ref.job_id, step, final=final, token=claim.token)
    answer = store.publish_checkpoint(claim, made, engine=ENGINE)
    assert not answer.refused
    return answer.obsolete


def test_three_strikes_end_a_job(store: TaskStore, ref: TaskRef, client: redis.Redis) -> None:
    answers = [store.strike(claim_again(store, ref), FAILURE) for _ in range(3)]
    assert answers == [Answer.REQUEUED, Answer.REQUEUED, Answer.FAILED]
    job = store.get_job(ref.job_id)
    assert job is not None
    assert (job.status, job.failure, job.strikes) == (Status.FAILED, FAILURE, 3)
    assert client.lrange(store.keys.dead, 0, -1) == [str(ref)]


def test_ten_losses_end_a_job(store: TaskStore, ref: TaskRef) -> None:
    answers = [store.release(claim_again(store, ref)) for _ in range(10)]
    assert answers == [Answer.REQUEUED] * 9 + [Answer.FAILED]
    job = store.get_job(ref.job_id)
    assert job is not None
    assert job.failure is not None
    assert job.failure.code == "worker_lost"


def test_progress_forgives_and_going_back_does_not(store: TaskStore, ref: TaskRef) -> None:
    for step in (10, 20):
        for _ in range(2):
            store.strike(claim_again(store, ref), FAILURE)
        claim = claim_again(store, ref)
        publish(store, claim, step)
        assert store.get_job(ref.job_id).strikes == 0  # type: ignore[union-attr]
        store.release(claim)
    # The newest is broken: the child falls back, repeats step 15 and dies of the same again.
    for expected in (Answer.REQUEUED, Answer.REQUEUED, Answer.FAILED):
        claim = claim_again(store, ref)
        publish(store, claim, 15)
        assert store.strike(claim, FAILURE) is expected


def test_delays_grow_and_have_a_limit(client: redis.Redis, settings: Settings) -> None:
    store = TaskStore(client, settings.model_copy(update={"max_strikes": 9}))
    new = new_job()
    store.create_job(new)
    delays = []
    for _ in range(8):
        client.hset(store.keys.record(TaskRef(new.id)), "not_before_us", "1")
        store.strike(claim_again(store, TaskRef(new.id)), FAILURE)
        job = store.get_job(new.id)
        assert job is not None
        assert job.not_before is not None
        delays.append((job.not_before - job.updated_at).total_seconds())
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300]


def test_the_newest_two_checkpoints_stay(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    keys = [checkpoint(ref.job_id, step, token=claim.token).key for step in range(4)]
    assert [publish(store, claim, step) for step in range(4)] == [(), (), (keys[0],), (keys[1],)]
    assert publish(store, claim, 3) == ()  # a repeat
    job = store.get_job(ref.job_id)
    assert job is not None
    assert job.checkpoint is not None
    assert job.previous_checkpoint is not None
    assert (job.checkpoint.key, job.previous_checkpoint.key) == (keys[3], keys[2])
    assert job.engine == ENGINE


def test_a_checkpoint_that_a_set_names_stays(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 1, final=True)
    assert store.create_set(ref.job_id, SampleSetRequest()).answer is Answer.CREATED
    pinned = checkpoint(ref.job_id, 1, token=claim.token).key
    following = [publish(store, claim, step) for step in (2, 3, 4)]
    assert pinned not in {key for keys in following for key in keys}
    assert following[2] == (checkpoint(ref.job_id, 2, token=claim.token).key,)


def test_the_finish_flag_outlives_the_worker(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 5)
    assert store.request_finish(ref.job_id) is Answer.OK
    assert store.beat(claim).finish
    store.strike(claim, FAILURE)
    again = claim_again(store, ref)
    assert again.job.finish_requested
    assert again.job.checkpoint is not None
    assert store.beat(again).finish


def test_the_cancel_flag_outlives_the_worker(
    store: TaskStore, ref: TaskRef, client: redis.Redis
) -> None:
    claim = claim_again(store, ref)
    assert store.request_cancel(ref) is Answer.CANCELLING
    assert store.beat(claim).cancel
    client.zadd(store.keys.leases, {str(ref): 1})  # the worker dies
    assert store.reap().cancelled == (ref,)
    assert store.try_claim(Kind.JOB, ref).answer is Answer.DONE


# The first set, made in the job's own run ------------------------------------------------------


def test_job_and_first_set_succeed_in_one_step(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    assert store.adopt_first_set(claim) is None  # nothing learned yet
    publish(store, claim, 9, final=True)
    made = store.adopt_first_set(claim)
    assert made is not None
    assert (made.made_by_job, made.status, made.request.n) == (True, Status.RUNNING, 4)
    assert store.try_claim(Kind.SET, made.ref).answer is Answer.HELD
    assert store.claim(Kind.SET) is None
    assert store.request_cancel(made.ref) is Answer.MADE_BY_JOB
    assert store.delete(made.ref) is Answer.MADE_BY_JOB
    same = store.create_set(ref.job_id, SampleSetRequest(n=4))
    assert same.answer is Answer.EXISTS
    result = set_result(claim.prefix)
    outcome = Outcome(status=Status.SUCCEEDED, result=result, metrics={"fid": 1.5})
    assert store.finish(claim, outcome) is Answer.OK
    job, sample_set = store.get_job(ref.job_id), store.get_set(ref.job_id, made.id)
    assert job is not None
    assert sample_set is not None
    assert job.first_set_id == sample_set.id
    assert {job.status, sample_set.status} == {Status.SUCCEEDED}
    assert sample_set.result == result
    assert [one.id for one in store.list_sets(ref.job_id)] == [made.id]


def test_the_first_set_follows_its_job_through_a_crash(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 9, final=True)
    made = store.adopt_first_set(claim)
    assert made is not None
    store.strike(claim, FAILURE)
    assert store.get(made.ref).status is Status.QUEUED  # type: ignore[union-attr]
    again = claim_again(store, ref)
    assert again.job.trained
    assert store.get(made.ref).status is Status.RUNNING  # type: ignore[union-attr]
    readopted = store.adopt_first_set(again)
    assert readopted is not None
    assert (readopted.id, readopted.made_by_job) == (made.id, True)
    store.request_cancel(ref)
    store.finish(again, Outcome(status=Status.CANCELLED))
    assert store.get(made.ref).status is Status.CANCELLED  # type: ignore[union-attr]
    # Asked for again it is a task of its own.
    assert store.create_set(ref.job_id, SampleSetRequest(n=4)).answer is Answer.RESTARTED
    assert store.claim(Kind.SET, made.ref) is not None


def test_a_set_that_a_client_was_quicker_with(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 9, final=True)
    store.create_set(ref.job_id, SampleSetRequest(n=4))
    working = store.claim(Kind.SET)
    assert working is not None
    theirs = store.adopt_first_set(claim)
    assert theirs is not None
    assert not theirs.made_by_job
    assert store.finish(claim, Outcome(status=Status.SUCCEEDED)) is Answer.OK
    assert store.get(theirs.ref).status is Status.RUNNING  # type: ignore[union-attr]
    result = set_result(working.prefix)
    assert store.finish(working, Outcome(status=Status.SUCCEEDED, result=result)) is Answer.OK


def test_a_queued_set_is_taken_over(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 9, final=True)
    store.create_set(ref.job_id, SampleSetRequest(n=4))
    taken = store.adopt_first_set(claim)
    assert taken is not None
    assert (taken.made_by_job, taken.queue_position) == (True, None)
    assert store.claim(Kind.SET) is None


def test_a_job_that_ends_without_its_set_says_so(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 9, final=True)
    made = store.adopt_first_set(claim)
    assert made is not None
    store.finish(claim, Outcome(status=Status.SUCCEEDED))
    ended = store.get(made.ref)
    assert ended is not None
    assert ended.failure is not None
    assert (ended.status, ended.failure.code) == (Status.FAILED, "not_made")


def test_another_final_checkpoint_names_another_first_set(store: TaskStore, ref: TaskRef) -> None:
    claim = claim_again(store, ref)
    publish(store, claim, 9, final=True)
    before = store.adopt_first_set(claim)
    publish(store, claim, 10, final=True)
    after = store.adopt_first_set(claim)
    assert before is not None
    assert after is not None
    assert before.id != after.id
    assert [one.id for one in store.list_sets(ref.job_id)] == [after.id]
