"""One run: a service, its customers, faults until they are served or time is over, then a look."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jobs.keys import ValkeyKeys
from jobs.objects import open_store
from jobs.state import TaskStore, connect
from tests.chaos.customers import Customer, Story
from tests.chaos.faults import Faults
from tests.chaos.promises import look
from tests.chaos.stack import Stack

TINY = {"preset": "paper", "max_size": "64", "output_size": "train", "n": "10"}
ITERATIONS = "40"
TICK_SECONDS = 0.1
HOUSEKEEPING_SECONDS = 90.0
PATIENCE_SECONDS = 900.0
"""After the last fault, for all jobs to end."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run came to.

    Attributes:
        seed: of the faults.
        seconds: from the first job to the last archive.
        jobs: that were accepted; all of them have ended.
        sets: that were downloaded and checked.
        faults: how often each was done.
        kills: faults that were a ``kill -9``.
        own_ends: parts that ended by themselves, and were started again.
        attempts: claims of all tasks together.
        most_attempts: of one task.
        training_seconds_lost: in all.
        most_training_seconds_lost: at once.
        events: that customers have seen.
        reconnections: of their event streams.
        refusals: answers that asked them to come again.
        slowest_stop_seconds: from a SIGTERM to a worker's end.
        broken: promises that were not kept.
    """

    seed: int
    seconds: float
    jobs: int
    sets: int
    faults: dict[str, int]
    kills: int
    own_ends: dict[str, int]
    attempts: int
    most_attempts: int
    training_seconds_lost: float
    most_training_seconds_lost: float
    events: int
    reconnections: int
    refusals: int
    slowest_stop_seconds: float
    broken: list[str]


def run(folder: Path, *, seed: int, minutes: float, jobs: int) -> Summary:
    """Call it from the main thread.

    Args:
        folder: takes data and logs.
        seed: of the faults.
        minutes: of faults at most.
        jobs: and as many customers.
    """
    stack = Stack(folder)
    try:
        stack.start()
        return _run(stack, seed=seed, minutes=minutes, jobs=jobs)
    finally:
        stack.close()
        left = stack.left_over()
        assert not left, f"processes are left: {left}"


def _run(stack: Stack, *, seed: int, minutes: float, jobs: int) -> Summary:
    began = time.monotonic()
    customers = [
        Customer(
            stack.url,
            stack.api_key,
            {**TINY, "iterations": ITERATIONS, "seed": str(i)},
            {"n": "6", "seed": str(i)},
        )
        for i in range(jobs)
    ]
    for customer in customers:
        customer.start()
    faults = Faults(stack, seed)
    while any(c.is_alive() for c in customers) and time.monotonic() < began + 60 * minutes:
        faults.tick()
        time.sleep(TICK_SECONDS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not faults.is_whole or any(customer.is_alive() for customer in customers):
        faults.calm()
        if time.monotonic() > deadline:
            break
        time.sleep(TICK_SECONDS)
    for customer in customers:
        customer.leave()
        customer.join(90)
    _await_housekeeping(stack)
    return _summary(stack, faults, seed, time.monotonic() - began, [c.story for c in customers])


def _await_housekeeping(stack: Stack) -> None:
    """Who ended a task and was killed before its record was kept: a round makes up for it."""
    client, unkept = connect(stack.valkey.url), ValkeyKeys(stack.mark).unkept
    deadline = time.monotonic() + HOUSEKEEPING_SECONDS
    while client.zcard(unkept) and time.monotonic() < deadline:
        time.sleep(1.0)


def _summary(
    stack: Stack, faults: Faults, seed: int, seconds: float, stories: list[Story]
) -> Summary:
    client = connect(stack.valkey.url)
    store, objects = TaskStore(client, stack.settings), open_store(stack.settings)
    found = look(stack, store, objects, client, stories)
    records = store.list_jobs(limit=1_000).items
    return Summary(
        seed=seed,
        seconds=round(seconds, 1),
        jobs=len(records),
        sets=sum(len(story.sets) for story in stories),
        faults=dict(faults.done),
        kills=sum(count for name, count in faults.done.items() if name.startswith("kill")),
        own_ends=dict(faults.own_ends),
        attempts=sum(found.attempts),
        most_attempts=max(found.attempts, default=0),
        training_seconds_lost=round(sum(found.seconds_lost), 1),
        most_training_seconds_lost=round(max(found.seconds_lost, default=0.0), 1),
        events=sum(len(story.events) for story in stories),
        reconnections=sum(story.reconnections for story in stories),
        refusals=sum(story.refusals for story in stories),
        slowest_stop_seconds=round(max(stack.graceful_seconds, default=0.0), 1),
        broken=found.broken,
    )


def as_json(summary: Summary) -> str:
    """For people and files."""
    values: dict[str, Any] = asdict(summary)
    return json.dumps(values, indent=1)
