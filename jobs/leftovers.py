"""What attempts have stored in vain: removed, but never what a record names.

A checkpoint outlives the attempt that published it: the next one goes on from there, and sample
sets are made of it. So an attempt that is no longer wanted doesn't take its whole prefix along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobs.errors import ObjectMissing
from jobs.keys import result_key, task_prefix
from jobs.objects.base import ObjectStore
from jobs.record import Job, SampleSet, SetResult, TaskRef
from jobs.state.store import TaskStore
from jobs.terminal import SettledResult

_ATTEMPT = re.compile(r"a(\d+)")


def discard_leftovers(store: TaskStore, objects: ObjectStore, ref: TaskRef, token: str) -> int:
    """Remove what a task's attempts have stored and nothing names, up to one attempt and its own.

    Younger attempts are left alone: what they have stored may not be on record yet. Those up to
    ``token`` name nothing new once it isn't current, or the task has ended.

    Args:
        store: the records. A job that it doesn't know, not even as deleted, is left alone: should
            Valkey have lost its data, ``rebuild`` or the sweep of orphans is next.
        objects: where attempts have stored.
        ref: the task.
        token: of an attempt that was refused, or with which the task has ended.

    Returns:
        How many objects were removed.
    """
    job = store.get_job(ref.job_id)
    if job is None and not store.is_deleted(ref.job):
        return 0
    sets = store.list_sets(ref.job_id)
    stored = [
        key for one in (ref, *_carried(ref, sets)) for key in _stored(objects, one, int(token))
    ]
    named = set(_named(objects, job, sets)) if stored else set()
    unwanted = [key for key in stored if key not in named]
    for key in unwanted:
        objects.delete(key)
    return len(unwanted)


def _carried(ref: TaskRef, sets: list[SampleSet]) -> Iterator[TaskRef]:
    """The sets that a job's own attempts have made."""
    if ref.set_id is None:
        yield from (sample_set.ref for sample_set in sets if sample_set.made_by_job)


def _stored(objects: ObjectStore, ref: TaskRef, newest: int) -> Iterator[str]:
    prefix = task_prefix(ref)
    for name in objects.children(prefix):
        attempt = _ATTEMPT.fullmatch(name)
        if attempt is not None and int(attempt[1]) <= newest:
            yield from (info.key for info in objects.list(f"{prefix}{name}/"))


def _named(objects: ObjectStore, job: Job | None, sets: list[SampleSet]) -> Iterator[str]:
    """Every key that the records of a job and of its sets have, and what they have settled."""
    if job is None:
        return
    checkpoints = [job.checkpoint, job.previous_checkpoint, *(one.checkpoint for one in sets)]
    yield from (checkpoint.key for checkpoint in checkpoints if checkpoint is not None)
    yield from filter(None, (job.preview_key,))
    tasks: list[Job | SampleSet] = [job, *sets]
    for task in tasks:
        if task.failure is not None and task.failure.log_key is not None:
            yield task.failure.log_key
        yield from _keys_of(_settled(objects, task.ref))
    for sample_set in sets:
        yield from _keys_of(sample_set.result)


def _settled(objects: ObjectStore, ref: TaskRef) -> SetResult | None:
    """A result that may not be on record yet."""
    try:
        kept = objects.get_bytes(result_key(ref))
    except ObjectMissing:
        return None
    return SettledResult.model_validate_json(kept).outcome.result


def _keys_of(result: SetResult | None) -> Iterator[str]:
    if result is not None:
        yield from filter(None, (result.archive_key, result.items_key, result.sheet_key))
