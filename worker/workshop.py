"""What all attempts of a worker share, and how the records of ended tasks are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.objects import ObjectStore
from jobs.record import TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore
from jobs.terminal import archive_record


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What all attempts of a worker share.

    Attributes:
        settings: of the process.
        store: the state machine.
        objects: the object store.
        child_command: program and arguments of the child, before the assignment's path.
        folder: attempts get folders of their own in it.
        stop_seconds: how long a child may take to stop when the worker shuts down.
    """

    settings: Settings
    store: TaskStore
    objects: ObjectStore
    child_command: tuple[str, ...]
    folder: Path
    stop_seconds: float = 20.0


def archive_if_ended(shop: Workshop, ref: TaskRef) -> None:
    """Stores a task's record if it is terminal."""
    record = shop.store.get(ref)
    if record is not None and record.status.terminal:
        archive_record(shop.objects, record)


def archive_first_set(shop: Workshop, job_id: str) -> None:
    """Stores the record of the set that the job's own run has made, if there is one."""
    job = shop.store.get_job(job_id)
    if job is not None and job.first_set_id is not None:
        archive_if_ended(shop, TaskRef(job_id, job.first_set_id))
