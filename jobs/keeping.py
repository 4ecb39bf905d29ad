"""What is left to do once a task, or an attempt at it, has ended.

Records of ended tasks go to the object store; what attempts have stored in vain is removed, but
never what a record names: a checkpoint outlives the attempt that published it, for the next one
goes on from there, and sample sets are made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import ValidationError

from jobs.errors import ObjectMissing, UnreadableResult
from jobs.keys import is_set_id, result_key, task_prefix
from jobs.objects.base import ObjectStore
from jobs.record import Job, SampleSet, SetResult, TaskRef
from jobs.state.store import TaskStore
from jobs.terminal import SettledResult, archive_record, keys_of

_ATTEMPT = re.compile(r"a(\d+)")


def keep_end(store: TaskStore, objects: ObjectStore, ref: TaskRef) -> None:
    """Keeps an ended task's record, and tidies up after it; does nothing for another.

    One that a newer OnePair has written to is left to such a one. With a job goes the set that its
    own run has made. Whoever ends a task does this next; should they die before, a round of
    housekeeping does. To repeat it is safe.

    Raises:
        StoreAway: nothing is lost; it is asked for again.
    """
    record = store.get(ref)
    if record is None or not record.status.terminal or record.is_too_new:
        return
    ended: list[Job | SampleSet] = [record]
    if isinstance(record, Job) and record.first_set_id is not None:
        first_set = store.get_set(record.id, record.first_set_id)
        if first_set is not None and first_set.is_too_new:
            return
        if first_set is not None and first_set.status.terminal:
            ended.append(first_set)
    for one in ended:
        archive_record(objects, one)
    if record.token is not None:
        discard_leftovers(store, objects, ref, record.token)
    for one in ended:
        store.kept(one)


def discard_leftovers(store: TaskStore, objects: ObjectStore, ref: TaskRef, token: str) -> int:
    """Remove what a task's attempts have stored and nothing names, up to one attempt and its own.

    Nothing is removed where a newer OnePair has written to one of the records: it may name more
    than is known here. Younger attempts are left alone: what they have stored may not be on record
    yet. Those up to ``token`` name nothing new once it isn't current, or the task has ended.

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
    if any(one.is_too_new for one in (job, *sets) if one is not None):
        return 0
    stored = [
        key
        for one in (ref, *_carried(objects, ref, sets))
        for key in _stored(objects, one, int(token))
    ]
    named = set(_named(objects, job, sets)) if stored else set()
    unwanted = [key for key in stored if key not in named]
    for key in unwanted:
        objects.delete(key)
    return len(unwanted)


def _carried(objects: ObjectStore, ref: TaskRef, sets: list[SampleSet]) -> Iterator[TaskRef]:
    """The sets that a job's own attempts have made, those on no record any more included."""
    if ref.set_id is not None:
        return
    tasks_of_their_own = {one.id for one in sets if not one.made_by_job}
    for set_id in objects.children(f"{task_prefix(ref)}sets/"):
        if is_set_id(set_id) and set_id not in tasks_of_their_own:
            yield TaskRef(ref.job_id, set_id)


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
        yield from keys_of(_settled(objects, task.ref))
    for sample_set in sets:
        yield from keys_of(sample_set.result)


def _settled(objects: ObjectStore, ref: TaskRef) -> SetResult | None:
    """A result that may not be on record yet."""
    try:
        kept = objects.get_bytes(result_key(ref))
    except ObjectMissing:
        return None
    try:
        return SettledResult.model_validate_json(kept).outcome.result
    except ValidationError as error:
        raise UnreadableResult(f"{result_key(ref)} is not what we have written") from error
