"""What all attempts of a worker share, and what they do once a task has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jobs.leftovers import discard_leftovers
from jobs.objects import ObjectStore
from jobs.record import Job, TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore
from jobs.terminal import archive_record
from worker.metrics import WorkerMetrics


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What all attempts of a worker share.

    Attributes:
        settings: of the process.
        store: the state machine.
        objects: the object store.
        child_command: program and arguments of the child, before the assignment's path.
        folder: attempts get folders of their own in it.
        metrics: of this worker.
        stop_seconds: how long a child may take to stop when the worker shuts down.
    """

    settings: Settings
    store: TaskStore
    objects: ObjectStore
    child_command: tuple[str, ...]
    folder: Path
    stop_seconds: float = 20.0
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)


def keep_end(shop: Workshop, ref: TaskRef) -> None:
    """What is left to do for a task that has ended; nothing for another.

    Its record goes to the object store, and that of the set that a job's own run has made, for a
    rebuild after a loss of Valkey; what its attempts have stored in vain goes.
    """
    record = shop.store.get(ref)
    if record is None or not record.status.terminal:
        return
    archive_record(shop.objects, record)
    if isinstance(record, Job) and record.first_set_id is not None:
        first_set = shop.store.get_set(record.id, record.first_set_id)
        if first_set is not None and first_set.status.terminal:
            archive_record(shop.objects, first_set)
    if record.token is not None:
        discard_leftovers(shop.store, shop.objects, ref, record.token)
