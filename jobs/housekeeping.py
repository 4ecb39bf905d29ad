"""What every gateway and worker does every ``reap_seconds``, whoever is first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobs.keys import JOBS_PREFIX, is_job_id, task_prefix
from jobs.objects.base import ObjectStore
from jobs.queue import Queue
from jobs.record import Kind, TaskRef
from jobs.state.answers import ReapReport
from jobs.state.store import TaskStore


def run_round(store: TaskStore, objects: ObjectStore, queue: Queue) -> ReapReport:
    """REAP; ring what is due and unheard; remove the objects of deleted tasks.

    A deletion is marked as swept only after it has worked, so a crash repeats it.

    Raises:
        StoreAway: try again next round; a round can be cut off anywhere.
    """
    report = store.reap(waiting_jobs=queue.waiting(Kind.JOB), waiting_sets=queue.waiting(Kind.SET))
    for ref in report.ring:
        queue.ring(ref)
    for ref in report.expired:
        objects.delete_prefix(task_prefix(ref))
    for ref in report.sweep:
        objects.delete_prefix(task_prefix(ref))
        store.swept(ref)
    return report


def sweep_orphans(store: TaskStore, objects: ObjectStore) -> int:
    """Delete prefixes that belong to no record and are older than ``orphan_seconds``.

    These are inputs whose CREATE never came, and jobs lost with Valkey before they ended. Run it
    about once a day, and after ``rebuild``, never before.

    Returns:
        How many prefixes were deleted.
    """
    youngest = datetime.now(UTC) - timedelta(seconds=store.settings.orphan_seconds)
    count = 0
    for job_id in filter(is_job_id, objects.children(JOBS_PREFIX)):
        prefix = task_prefix(TaskRef(job_id))
        if store.get_job(job_id) is not None:
            continue
        newest = max((info.modified_at for info in objects.list(prefix)), default=None)
        if newest is None or newest > youngest:
            continue
        objects.delete_prefix(prefix)
        count += 1
    return count
