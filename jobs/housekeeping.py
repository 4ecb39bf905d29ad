"""What gateways and workers do now and then, whoever is first: reap, ring, sweep."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from jobs.errors import StoreAway
from jobs.keeping import keep_end
from jobs.keys import JOBS_PREFIX, is_job_id, record_key, task_prefix
from jobs.objects.base import ObjectStore
from jobs.queue import Queue
from jobs.record import Kind, TaskRef
from jobs.state.answers import ReapReport
from jobs.state.store import TaskStore

_LOG = structlog.get_logger(__name__)


def _never() -> bool:
    return False


def run_round(store: TaskStore, objects: ObjectStore, queue: Queue) -> ReapReport:
    """REAP; ring what is due and unheard; keep ended records; remove deleted tasks' objects.

    A deletion is marked as swept only after it has worked, so a crash repeats it.

    Raises:
        StoreAway: try again next round; a round can be cut off anywhere.
    """
    report = store.reap(waiting_jobs=queue.waiting(Kind.JOB), waiting_sets=queue.waiting(Kind.SET))
    for ref in report.ring:
        queue.ring(ref)
    for ref in report.unkept:
        keep_end(store, objects, ref)
    for ref in report.expired:
        objects.delete_prefix(task_prefix(ref))
        _LOG.info("job_expired", job=ref.job_id)
    for ref in report.sweep:
        objects.delete_prefix(task_prefix(ref))
        store.swept(ref)
    return report


def sweep_orphans_if_due(
    store: TaskStore, objects: ObjectStore, should_stop: Callable[[], bool] = _never
) -> int | None:
    """``sweep_orphans``, once in ``sweep_seconds`` and by one process of all that call this.

    A sweep that fails or is stopped is due again; one that dies with its process, a period later.

    Args:
        store: tells who begins.
        objects: to be swept.
        should_stop: asked before each prefix.

    Returns:
        How many prefixes were deleted; None when no sweep was due.

    Raises:
        StoreAway: the sweep was cut off.
    """
    if not store.begin_orphan_sweep():
        return None
    complete = False
    try:
        count = sweep_orphans(store, objects, should_stop)
        complete = not should_stop()
    finally:
        if not complete:
            with suppress(StoreAway):
                store.abandon_orphan_sweep()
    return count


def sweep_orphans(
    store: TaskStore, objects: ObjectStore, should_stop: Callable[[], bool] = _never
) -> int:
    """Delete prefixes that belong to no record and are older than ``orphan_seconds``.

    These are inputs whose CREATE never came, and jobs lost with Valkey before they ended. Jobs
    lost after their end have a final record among their objects; they wait for ``rebuild``. With
    them goes what interrupted writes have left.

    Returns:
        How many prefixes were deleted.
    """
    count = 0
    for job_id in filter(is_job_id, objects.children(JOBS_PREFIX)):
        if should_stop():
            break
        if _is_orphan(store, objects, TaskRef(job_id)):
            objects.delete_prefix(task_prefix(TaskRef(job_id)))
            count += 1
    else:
        objects.sweep_unfinished(older_than_seconds=store.settings.orphan_seconds)
    return count


def _is_orphan(store: TaskStore, objects: ObjectStore, ref: TaskRef) -> bool:
    if store.get_job(ref.job_id) is not None:
        return False
    youngest = datetime.now(UTC) - timedelta(seconds=store.settings.orphan_seconds)
    newest = max((info.modified_at for info in objects.list(task_prefix(ref))), default=None)
    if newest is None or newest > youngest:
        return False
    return store.is_deleted(ref) or objects.head(record_key(ref)) is None
