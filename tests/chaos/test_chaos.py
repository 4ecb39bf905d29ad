"""A short run of the faults, and the one job that they single out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.objects import open_store
from jobs.state import TaskStore
from tests.chaos.customers import Customer
from tests.chaos.promises import all_events, training_lost
from tests.chaos.run import TINY, as_json, run
from tests.chaos.stack import Stack
from tests.customer import checkpoints, wait_until

pytestmark = pytest.mark.slow

KILLS = 10


@pytest.mark.timeout(1_500)
def test_no_promise_breaks(tmp_path: Path) -> None:
    summary = run(tmp_path, seed=4, minutes=3.0, jobs=5)

    print(as_json(summary))
    assert summary.broken == []
    assert summary.jobs == 5
    assert summary.sets == 10
    assert summary.kills > 0


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


@pytest.mark.timeout(1_500)
def test_a_job_killed_ten_times_with_progress_between_succeeds(stack: Stack) -> None:
    customer = Customer(stack.url, stack.api_key, {**TINY, "iterations": "5000"}, {"n": "4"})
    customer.start()
    story, store = customer.story, stack.store()
    for kill in range(KILLS):
        seen = checkpoints(story.events)
        wait_until(lambda seen=seen: max(checkpoints(story.events), default=0) > max(seen or [0]))
        worker = wait_until(lambda: _working(stack))
        if kill % 2:
            stack.kill(worker)
            stack.start_again(worker)
        else:
            child = stack.child_of(worker)
            assert child is not None
            os.kill(child, signal.SIGKILL)
    wait_until(lambda: _working(stack))
    store.request_finish(story.job_id)
    customer.join(600)

    assert story.complaints == []
    assert story.finished
    job = store.get_job(story.job_id)
    assert job is not None
    told = all_events(store, job)
    assert told == story.events
    assert sum(event["data"].get("status") == "running" for event in told) > KILLS
    assert max(training_lost(told), default=0.0) < 60


@pytest.mark.timeout(600)
def test_a_paused_worker_that_wakes_up_too_late_spoils_nothing(stack: Stack) -> None:
    """Its lease has gone to the other worker, which goes on from its checkpoints."""
    customer = Customer(stack.url, stack.api_key, {**TINY, "iterations": "150"}, {"n": "4"})
    customer.start()
    story = customer.story
    wait_until(lambda: checkpoints(story.events))
    first = wait_until(lambda: _working(stack))
    stack.pause(first)
    wait_until(lambda: _claims(story.events) == 2)
    stack.wake(first)
    time.sleep(3.0)
    job = _job(stack.store(), story.job_id)
    objects = open_store(stack.settings)
    for named in (job.checkpoint, job.previous_checkpoint):
        assert named is None or objects.head(named.key) is not None
    customer.join(300)

    assert story.complaints == []
    assert story.finished
    told = all_events(stack.store(), _job(stack.store(), story.job_id))
    assert max(training_lost(told), default=0.0) < 60
    assert min(_resumed_at(told)) > 0


def _working(stack: Stack) -> str | None:
    """The jobs worker that has a child now."""
    return next((name for name in ("jobs-a", "jobs-b") if stack.child_of(name)), None)


def _claims(events: list[dict]) -> int:
    return sum(event["data"].get("status") == "running" for event in list(events))


def _job(store: TaskStore, job_id: str):
    job = store.get_job(job_id)
    assert job is not None
    return job


def _resumed_at(events: list[dict]) -> list[int]:
    """The first step told after each claim but the first."""
    found: list[int] = []
    fresh = False
    for event in events:
        fresh = fresh or event["data"].get("status") == "running"
        if event["type"] == "progress" and event["data"]["phase"] == "training" and fresh:
            found.append(event["data"]["progress"]["step"])
            fresh = False
    return found[1:]
