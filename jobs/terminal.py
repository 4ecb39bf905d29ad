"""How a task ends in the object store: one result, one final record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from jobs.errors import ObjectMissing, RecordTooNew
from jobs.keys import JOBS_PREFIX, is_job_id, is_set_id, record_key, result_key, task_prefix
from jobs.objects.base import ObjectStore
from jobs.record import RECORD_SCHEMA, Frozen, Job, SampleSet, SetResult, Status, TaskRef
from jobs.state.answers import Claim, Outcome
from jobs.state.store import TaskStore

_JSON = "application/json"
Record = TypeVar("Record", Job, SampleSet)


class SettledResult(Frozen):
    """``result.json``: the outcome that was first, and the attempt that made it."""

    token: str
    outcome: Outcome


class _Stamp(Frozen):
    """All that can be told of a record before its schema is known."""

    schema_version: int = 1


def settle(objects: ObjectStore, claim: Claim, outcome: Outcome) -> Outcome:
    """Write ``result.json`` before FINISH; the backstop should two attempts ever both succeed.

    Returns:
        The outcome to FINISH with: this one, or that of an earlier attempt which had got as far
        as this before it died. Its objects are complete; this attempt's can go. One whose objects
        are not there any more is replaced.

    Raises:
        ValueError: the outcome is not a success; others are not settled.
    """
    if outcome.status is not Status.SUCCEEDED:
        raise ValueError(f"only a success is settled, not {outcome.status}")
    mine = SettledResult(token=claim.token, outcome=outcome)
    key = result_key(claim.ref)
    if objects.put_if_absent(key, mine.model_dump_json().encode(), content_type=_JSON):
        return outcome
    earlier = SettledResult.model_validate_json(objects.get_bytes(key)).outcome
    if all(objects.head(one) is not None for one in keys_of(earlier.result)):
        return earlier
    # It was settled by an attempt whose lease, and then whose files, were gone: nothing is there.
    objects.put_bytes(key, mine.model_dump_json().encode(), content_type=_JSON)
    return outcome


def keys_of(result: SetResult | None) -> tuple[str, ...]:
    """Everything that a set's result consists of in the object store."""
    if result is None:
        return ()
    return tuple(filter(None, (result.archive_key, result.items_key, result.sheet_key)))


def archive_record(objects: ObjectStore, record: Job | SampleSet) -> None:
    """Write a terminal record to the object store, for ``rebuild``.

    Raises:
        ValueError: the record is not terminal.
    """
    if not record.status.terminal:
        raise ValueError(f"only terminal records are archived, not {record.status}")
    objects.put_bytes(record_key(record.ref), record.model_dump_json().encode(), content_type=_JSON)


def rebuild(store: TaskStore, objects: ObjectStore) -> int:
    """Restore every finished job and set after a total loss of Valkey.

    Tasks that were unfinished are lost. Existing and deleted ones stay as they are.

    Returns:
        How many records were restored.

    Raises:
        RecordTooNew: a newer OnePair has written some; all others are restored.
    """
    newer: list[TaskRef] = []
    restored = sum(store.restore(record) for record in archived_records(objects, newer.append))
    if newer:
        refs = ", ".join(map(str, newer[:3])) + (", …" if len(newer) > 3 else "")
        raise RecordTooNew(
            f"{restored} records were restored; {len(newer)} of a newer OnePair were not: {refs}"
        )
    return restored


def archived_records(
    objects: ObjectStore, on_newer: Callable[[TaskRef], None]
) -> Iterator[Job | SampleSet]:
    """All readable final records: each job before its sets.

    Args:
        objects: where they are.
        on_newer: told of each that a newer OnePair has written, and of no set of such a job.
    """

    def read(ref: TaskRef, model: type[Record]) -> Record | None:
        try:
            return _read(objects, ref, model)
        except RecordTooNew:
            on_newer(ref)
            return None

    for job_id in filter(is_job_id, objects.children(JOBS_PREFIX)):
        job = read(TaskRef(job_id), Job)
        if job is None:
            continue
        yield job
        for set_id in filter(is_set_id, objects.children(f"{task_prefix(job.ref)}sets/")):
            sample_set = read(TaskRef(job_id, set_id), SampleSet)
            if sample_set is not None:
                yield sample_set


def _read(objects: ObjectStore, ref: TaskRef, model: type[Record]) -> Record | None:
    try:
        text = objects.get_bytes(record_key(ref))
        schema = _Stamp.model_validate_json(text).schema_version
        if schema > RECORD_SCHEMA:
            raise RecordTooNew(f"{ref} has schema {schema}, and this OnePair knows {RECORD_SCHEMA}")
        return model.model_validate_json(text)
    except (ObjectMissing, ValidationError):
        return None
