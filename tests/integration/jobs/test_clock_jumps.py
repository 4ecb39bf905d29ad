"""The server's clock is set forward or back while tasks wait and run.

A jump of the clock is a jump of every due time, seen from the clock: so that is what is done here.
"""

from __future__ import annotations

import pytest
import redis

from jobs.record import Kind, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, Claim, Outcome, TaskStore
from jobs.state.connection import connect
from tests.builders import ENGINE, FAILURE, checkpoint, new_job

HOUR_US = 3_600_000_000
TIMES = ("created_us", "started_us", "updated_us", "not_before_us", "rung_us")


@pytest.fixture
def store(client: redis.Redis, settings: Settings) -> TaskStore:
    """No lock between rounds."""
    return TaskStore(client, settings.model_copy(update={"reap_lock_seconds": 1e-6}))


def set_clock(store: TaskStore, hours: int) -> None:
    """Forward, or back where negative."""
    shift, keys = -hours * HOUR_US, store.keys
    for queue in (keys.leases, keys.pending(Kind.JOB), keys.pending(Kind.SET)):
        for ref, _ in store.client.zrange(queue, 0, -1, withscores=True):
            store.client.zincrby(queue, shift, ref)
    for job in store.list_jobs(limit=1_000).items:
        record = keys.record(job.ref)
        for name in TIMES:
            if store.client.hget(record, name) not in {None, "0"}:
                store.client.hincrby(record, name, shift)
    lock = f"{keys.tag}:reaper"
    if store.client.get(lock) is not None:
        store.client.set(lock, str(int(store.client.get(lock)) + shift), keepttl=True)
    fence = store.client.get(f"{keys.tag}:fence")
    if fence is not None:
        store.client.set(f"{keys.tag}:fence", str(int(fence) + shift))


def running(store: TaskStore) -> Claim:
    new = new_job()
    store.create_job(new)
    claim = store.claim(Kind.JOB, TaskRef(new.id))
    assert claim is not None
    return claim


def test_forward_a_living_worker_keeps_its_lease_if_it_beats_first(store: TaskStore) -> None:
    claim = running(store)
    set_clock(store, 1)
    assert not store.beat(claim).refused
    assert store.reap().requeued == ()
    assert store.finish(claim, Outcome(status="succeeded")) is Answer.OK


def test_forward_or_the_job_goes_on_elsewhere_at_the_price_of_one_loss(store: TaskStore) -> None:
    claim = running(store)
    step = checkpoint(claim.ref.job_id, 10, token=claim.token)
    store.publish_checkpoint(claim, step, engine=ENGINE)
    set_clock(store, 1)
    assert store.reap().requeued == (claim.ref,)
    assert store.beat(claim).refused
    again = store.claim(Kind.JOB)
    assert again is not None
    assert again.job.checkpoint == step
    assert again.job.losses == 1
    assert int(again.token) > int(claim.token)


def test_back_what_waits_is_not_forgotten_and_keeps_its_order(store: TaskStore) -> None:
    waiting = [new_job() for _ in range(3)]
    for new in waiting:
        store.create_job(new)
    set_clock(store, -1)
    assert store.claim(Kind.JOB) is None
    store.reap()
    claimed = [store.claim(Kind.JOB) for _ in waiting]
    assert [claim and claim.ref.job_id for claim in claimed] == [new.id for new in waiting]


def test_back_a_dead_workers_lease_still_runs_out(store: TaskStore, settings: Settings) -> None:
    claim = running(store)
    set_clock(store, -1)
    store.reap()
    (seconds, microseconds) = store.client.time()
    left_us = store.client.zscore(store.keys.leases, str(claim.ref)) - (
        seconds * 1_000_000 + microseconds
    )
    assert 0 < left_us <= settings.lease_seconds * 1e6


def test_back_the_lock_of_the_last_round_stops_no_round(
    client: redis.Redis, settings: Settings
) -> None:
    """Valkey's own clock went back with it, so the lock would stand for as long."""
    patient = TaskStore(client, settings.model_copy(update={"reap_lock_seconds": 3_600.0}))
    assert not patient.reap().busy
    assert patient.reap().busy
    set_clock(patient, -1)
    assert not patient.reap().busy
    assert patient.reap().busy


def test_back_a_delay_is_as_long_as_it_was_meant(store: TaskStore, settings: Settings) -> None:
    claim = running(store)
    store.strike(claim, FAILURE)
    set_clock(store, -1)
    store.reap()
    assert store.claim(Kind.JOB) is None
    due_us = store.client.zscore(store.keys.pending(Kind.JOB), str(claim.ref))
    seconds, microseconds = store.client.time()
    left_seconds = due_us / 1e6 - seconds - microseconds / 1e6
    assert 0 < left_seconds <= settings.retry_base_seconds


def test_a_worker_with_a_longer_lease_keeps_it(client: redis.Redis, settings: Settings) -> None:
    longer = TaskStore(client, settings.model_copy(update={"lease_seconds": 600.0}))
    claim = running(longer)
    TaskStore(client, settings).reap()
    seconds, _ = client.time()
    assert client.zscore(longer.keys.leases, str(claim.ref)) / 1e6 - seconds > 500


def test_back_tokens_still_grow(store: TaskStore, settings: Settings) -> None:
    """The fence is ahead of the clock then."""
    first = running(store)
    fence = f"{store.keys.tag}:fence"
    with connect(str(settings.valkey_url and settings.valkey_url.get_secret_value())) as client:
        client.set(fence, str(int(first.token) + HOUR_US))
    second, third = running(store), running(store)
    assert int(first.token) + HOUR_US < int(second.token) < int(third.token)
