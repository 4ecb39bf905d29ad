"""Claims: one winner, growing tokens, leases by the server's clock, repeats recognised."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import redis

from jobs.record import JobWarning, Kind, Phase, Progress, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, BeatReport, Claim, Outcome, TaskStore, connect
from jobs.valkey import EmbeddedValkey
from tests.builders import FAILURE, new_job, set_result
from tests.machine import trained_job


def queued(store: TaskStore) -> TaskRef:
    new = new_job()
    assert store.create_job(new).answer is Answer.CREATED
    return TaskRef(new.id)


def claimed(store: TaskStore) -> Claim:
    claim = store.claim(Kind.JOB, queued(store))
    assert claim is not None
    return claim


@pytest.mark.parametrize("by_id", [True, False])
def test_of_many_claims_one_wins(valkey: EmbeddedValkey, settings: Settings, by_id: bool) -> None:
    clients = [connect(valkey.url) for _ in range(16)]
    stores = [TaskStore(client, settings) for client in clients]
    ref = queued(stores[0])
    start = Barrier(len(stores))

    def race(store: TaskStore) -> str:
        start.wait()
        return store.try_claim(Kind.JOB, ref if by_id else None).answer

    with ThreadPoolExecutor(len(stores)) as pool:
        answers = list(pool.map(race, stores))
    for client in clients:
        client.close()
    assert sorted(answers) == sorted(["claimed"] + ["held" if by_id else "empty"] * 15)


def test_the_queue_is_first_in_first_out_and_kinds_are_apart(task_store: TaskStore) -> None:
    first, second = queued(task_store), queued(task_store)
    assert [task_store.get(ref).queue_position for ref in (first, second)] == [1, 2]  # type: ignore[union-attr]
    assert task_store.claim(Kind.SET) is None
    for expected in (first, second):
        claim = task_store.claim(Kind.JOB)
        assert claim is not None
        assert claim.ref == expected
    assert task_store.try_claim(Kind.JOB).answer is Answer.EMPTY


def test_a_released_job_keeps_its_place_in_the_line(task_store: TaskStore) -> None:
    claim = claimed(task_store)
    queued(task_store)
    task_store.release(claim)
    again = task_store.claim(Kind.JOB)
    assert again is not None
    assert again.ref == claim.ref


def test_the_lease_ends_by_the_servers_clock(client: redis.Redis, settings: Settings) -> None:
    quick = settings.model_copy(update={"lease_seconds": 1.0, "reap_lock_seconds": 0.001})
    store = TaskStore(client, quick)
    old = claimed(store)
    for _ in range(4):  # beats keep it alive beyond the first lease
        time.sleep(0.4)
        assert not store.beat(old).refused
        assert store.reap().requeued == ()
    time.sleep(1.2)
    assert store.reap().requeued == (old.ref,)
    new = store.claim(Kind.JOB, old.ref)
    assert new is not None
    assert int(new.token) > int(old.token)
    assert store.beat(old).refused
    assert store.finish(old, Outcome(status=Status.SUCCEEDED)) is Answer.REFUSED
    assert not store.beat(new).refused


def test_a_worker_that_comes_back_before_the_reaper_keeps_its_claim(
    client: redis.Redis, settings: Settings
) -> None:
    store = TaskStore(client, settings.model_copy(update={"lease_seconds": 0.02}))
    claim = claimed(store)
    time.sleep(0.04)
    assert not store.beat(claim).refused
    assert store.try_claim(Kind.JOB, claim.ref).answer is Answer.HELD


def test_tokens_grow_even_when_the_fence_is_lost(
    client: redis.Redis, task_store: TaskStore, settings: Settings
) -> None:
    before = claimed(task_store)
    client.delete(f"{{{settings.namespace}}}:fence")
    after = claimed(task_store)
    assert int(after.token) > int(before.token)
    assert after.token.isdecimal()
    # A fence ahead of the clock (it was set back) still grows.
    ahead = int(after.token) + 10**12
    client.set(f"{{{settings.namespace}}}:fence", str(ahead))
    assert claimed(task_store).token == str(ahead + 1)


def test_a_claim_whose_reply_was_lost_is_given_again(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SameNonce:
        hex = "nonce"

    monkeypatch.setattr("jobs.state.work.uuid.uuid4", SameNonce)
    ref = queued(task_store)
    first, repeat = (task_store.claim(Kind.JOB, ref) for _ in range(2))
    assert first is not None
    assert repeat is not None
    assert first.token == repeat.token


def test_a_repeated_finish_gives_the_same_answer(task_store: TaskStore) -> None:
    claim = claimed(task_store)
    outcome = Outcome(status=Status.SUCCEEDED, metrics={"score": 0.5})
    assert task_store.finish(claim, outcome) is Answer.OK
    version = task_store.get_job(claim.ref.job_id).version  # type: ignore[union-attr]
    assert task_store.finish(claim, outcome) is Answer.OK
    assert task_store.get_job(claim.ref.job_id).version == version  # type: ignore[union-attr]


def test_a_beat_reports_and_the_record_shows_it(task_store: TaskStore) -> None:
    claim = claimed(task_store)
    small = JobWarning(code="downscaled", detail="The output is 1024 px.")
    other = JobWarning(code="slow", detail="No GPU; an odd sign: \n \u2028 '\"")
    progress = Progress(step=7, total=10, fraction=0.7, eta_seconds=1.5, losses={"g": 0.25})
    task_store.beat(claim, BeatReport(phase=Phase.TRAINING, progress=progress, warnings=(small,)))
    task_store.beat(claim, BeatReport(warnings=(small, other), preview_key="jobs/x/sheet.png"))
    task_store.beat(claim, BeatReport(effective_config={"steps": 10, "empty": [], "none": {}}))
    job = task_store.get_job(claim.ref.job_id)
    assert job is not None
    assert (job.phase, job.progress, job.warnings) == (Phase.TRAINING, progress, [small, other])
    assert job.preview_key == "jobs/x/sheet.png"
    assert job.effective_config == {"steps": 10, "empty": [], "none": {}}
    task_store.beat(claim, BeatReport(phase=Phase.GENERATING))
    assert task_store.get_job(job.id).progress is None  # type: ignore[union-attr]
    task_store.finish(claim, Outcome(status=Status.FAILED, failure=FAILURE))
    ended = task_store.get_job(job.id)
    assert ended is not None
    assert (ended.phase, ended.failure) == (None, FAILURE)


def test_a_set_claim_brings_its_job_along(task_store: TaskStore) -> None:
    new = new_job()
    trained_job(task_store, new)
    created = task_store.create_set(new.id, SampleSetRequest(n=9))
    assert created.sample_set is not None
    claim = task_store.claim(Kind.SET)
    assert claim is not None
    assert claim.sample_set is not None
    assert claim.job.checkpoint == claim.sample_set.checkpoint
    assert claim.sample_set.request.n == 9
    assert claim.prefix == f"jobs/{new.id}/sets/{claim.ref.set_id}/a{claim.token}/"
    result = set_result(claim.prefix)
    assert task_store.finish(claim, Outcome(status=Status.SUCCEEDED, result=result)) is Answer.OK
    finished = task_store.get_set(new.id, created.sample_set.id)
    assert finished is not None
    assert (finished.status, finished.result) == (Status.SUCCEEDED, result)
