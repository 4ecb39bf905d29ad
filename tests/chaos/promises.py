"""What has to be true after the faults, whatever they were. Each check names what it found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from jobs.errors import ObjectMissing
from jobs.keys import ValkeyKeys, attempt_prefix, record_key, result_key, task_prefix
from jobs.objects.base import ObjectStore
from jobs.record import Job, Kind, Phase, SampleSet, Status
from jobs.state import TaskStore
from jobs.terminal import SettledResult
from tests.chaos.customers import Story
from tests.chaos.stack import Stack

MOST_SECONDS_LOST = 60.0
"""Of training, for each kill."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a look at the whole service found.

    Attributes:
        broken: promises that were not kept; empty: all were.
        attempts: how often each task was claimed, jobs and sets that were tasks of their own.
        seconds_lost: of training, each time that it fell back.
    """

    broken: list[str]
    attempts: list[int]
    seconds_lost: list[float]


def look(
    stack: Stack, store: TaskStore, objects: ObjectStore, client: redis.Redis, stories: list[Story]
) -> Findings:
    """Checks all promises while the service still runs."""
    broken = [f"{story.job_id}: {one}" for story in stories for one in story.complaints]
    broken += [f"{story.job_id}: customer not served" for story in stories if not story.finished]
    jobs = list(store.list_jobs(limit=1_000).items)
    accepted = Counter(job.id for job in jobs)
    if accepted != Counter(story.job_id for story in stories):
        broken.append(f"{len(stories)} customers, jobs {sorted(accepted)}")
    attempts, seconds_lost = [], []
    for job in jobs:
        told = all_events(store, job)
        seen = [event for story in stories if story.job_id == job.id for event in story.events]
        broken += [f"{job.id}: {one}" for one in (*_events(told, seen), *_ending(job, told))]
        left_over = left_over_bytes(job, store.list_sets(job.id), objects)
        if left_over:
            broken.append(f"{job.id}: {left_over} bytes of attempts that came to nothing")
        attempts.append(_claims(told))
        seconds_lost += training_lost(told)
        for sample_set in store.list_sets(job.id):
            told = all_events(store, sample_set)
            if not sample_set.made_by_job:
                attempts.append(_claims(told))
            broken += [
                f"{sample_set.ref}: {one}"
                for one in (*_ending(sample_set, told), *_stored(job, sample_set, objects))
            ]
    broken += [
        f"{seconds:.0f} s of training lost at once"
        for seconds in seconds_lost
        if seconds > MOST_SECONDS_LOST
    ]
    broken += [*_books(ValkeyKeys(stack.settings.namespace), client), *_logs(stack)]
    return Findings(broken=broken, attempts=attempts, seconds_lost=seconds_lost)


def all_events(store: TaskStore, task: Job | SampleSet) -> list[dict[str, Any]]:
    """A task's events from the first on."""
    found: list[dict[str, Any]] = []
    while page := store.events(task.ref, found[-1]["id"] if found else None):
        found += [{"id": event.id, "type": event.type, "data": event.data} for event in page]
    return found


def _claims(events: list[dict[str, Any]]) -> int:
    return sum(event["data"].get("status") == Status.RUNNING for event in events)


def _events(told: list[dict[str, Any]], seen: list[dict[str, Any]]) -> Iterator[str]:
    """What a customer saw over many connections is the whole stream, in its order."""
    if seen != told:
        missing = [event["id"] for event in told if event not in seen]
        yield f"{len(told)} events, {len(seen)} seen, missing {missing[:5]}"


def _ending(task: Job | SampleSet, events: list[dict[str, Any]]) -> Iterator[str]:
    """It has ended well, once, and nothing was told after that."""
    if task.status is not Status.SUCCEEDED:
        yield f"{task.status}: {task.failure} (strikes {task.strikes}, losses {task.losses})"
    ends = [i for i, event in enumerate(events) if event["data"].get("status") == task.status]
    if ends != [len(events) - 1]:
        yield f"ended at {ends} of {len(events)} events"


def training_lost(events: list[dict[str, Any]]) -> Iterator[float]:
    """Seconds of training that had to be done again, each time that the step fell back.

    From the last moment at which no more than the step it went on from was told, to the last told
    step: what an attempt trained untold (a beat; longer while Valkey is away) is not in it. What
    passed between two attempts is not training.
    """
    seconds, last_at = 0.0, None
    reached: list[tuple[float, int]] = []
    for event in events:
        if event["type"] == "status":
            last_at = None
        if event["type"] != "progress" or event["data"]["phase"] != Phase.TRAINING:
            continue
        at, step = int(event["id"].split("-")[0]) / 1_000, event["data"]["progress"]["step"]
        seconds += 0.0 if last_at is None else at - last_at
        last_at = at
        if reached and step < reached[-1][1]:
            again = next(then for then, before in reached if before >= step)
            reached = [one for one in reached if one[1] <= step]
            yield seconds - (reached[-1][0] if reached else 0.0)
            seconds = again
        reached.append((seconds, step))


def _stored(job: Job, sample_set: SampleSet, objects: ObjectStore) -> Iterator[str]:
    """One result, made by the attempt that settled it, whole."""
    task = job if sample_set.made_by_job else sample_set
    try:
        settled = SettledResult.model_validate_json(objects.get_bytes(result_key(task.ref)))
    except ObjectMissing:
        yield "no result is settled"
        return
    result = sample_set.result
    if result is None or settled.outcome.result != result:
        yield "the record's result is not the one that was settled"
        return
    if objects.head(record_key(sample_set.ref)) is None:
        yield "its record is not in the object store"
    for key in filter(None, (result.archive_key, result.items_key, result.sheet_key)):
        if not key.startswith(attempt_prefix(sample_set.ref, settled.token)):
            yield f"{key} is not of attempt {settled.token}"
        elif objects.head(key) is None:
            yield f"{key} is missing"
    archive = objects.head(result.archive_key)
    if archive is not None and archive.size_bytes != result.size_bytes:
        yield f"{archive.size_bytes} of {result.size_bytes} bytes"


def _books(keys: ValkeyKeys, client: redis.Redis) -> Iterator[str]:
    """Nothing waits, nothing is held, nothing is dead."""
    for name, size in (
        ("leases", client.zcard(keys.leases)),
        ("jobs pending", client.zcard(keys.pending(Kind.JOB))),
        ("sets pending", client.zcard(keys.pending(Kind.SET))),
        ("dead", client.llen(keys.dead)),
        ("records not kept", client.zcard(keys.unkept)),
    ):
        if size:
            yield f"{name}: {size}"


def _logs(stack: Stack) -> Iterator[str]:
    """No secret is in any of them."""
    for log in sorted(stack.logs.glob("*.log")):
        text = log.read_text(errors="replace")
        for name, secret in stack.secrets.items():
            if secret in text:
                yield f"{log.name} has the {name}"


def left_over_bytes(job: Job, sets: list[SampleSet], objects: ObjectStore) -> int:
    """What attempts have left that ended without a result and hold no checkpoint in use."""
    named = {one.key for one in (job.checkpoint, job.previous_checkpoint) if one}
    named.add(job.preview_key or "")
    for sample_set in sets:
        named.add(sample_set.checkpoint.key)
        if sample_set.result is not None:
            result = sample_set.result
            named |= {result.archive_key, result.items_key, result.sheet_key or ""}
    kept = ("input/", "record.json", "result.json")
    total = 0
    for info in objects.list(task_prefix(job.ref)):
        name = info.key.removeprefix(task_prefix(job.ref))
        if info.key not in named and not name.endswith(kept) and not name.startswith(kept):
            total += info.size_bytes
    return total
