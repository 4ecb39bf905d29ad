"""Finding a task, or refusing: deleted (410) rather than never there (404)."""

from __future__ import annotations

from jobs.record import Job, SampleSet, TaskRef
from service.context import Services
from service.problems import ProblemError


def find_job(services: Services, job_id: str) -> Job:
    """The job's record.

    Raises:
        ProblemError: ``unknown_job`` or ``gone``.
    """
    job = services.tasks.get_job(job_id)
    if job is None:
        raise missing(TaskRef(job_id), deleted=services.tasks.is_deleted(TaskRef(job_id)))
    return job


def find_set(services: Services, job_id: str, set_id: str) -> SampleSet:
    """The sample set's record.

    Raises:
        ProblemError: ``unknown_job``, ``unknown_set`` or ``gone``.
    """
    sample_set = services.tasks.get_set(job_id, set_id)
    if sample_set is None:
        find_job(services, job_id)
        ref = TaskRef(job_id, set_id)
        raise missing(ref, deleted=services.tasks.is_deleted(ref))
    return sample_set


async def wait_for(services: Services, ref: TaskRef, version: int | None, seconds: float) -> None:
    """Returns once a job differs from ``version``, is gone, or the time is over.

    Args:
        services: the gateway's collaborators.
        ref: the job.
        version: what the client has; None: what it is now.
        seconds: at most so long.
    """
    glance = await services.reader.glance(ref)
    if glance is not None and version in {None, glance.version}:
        await services.reader.wait_for_change(ref, glance.version, timeout_seconds=seconds)


def missing(ref: TaskRef, *, deleted: bool) -> ProblemError:
    """Why there is nothing under ``ref``."""
    what, code = ("job", "unknown_job") if ref.set_id is None else ("sample set", "unknown_set")
    if deleted:
        return ProblemError("gone", f"The {what} was deleted.")
    return ProblemError(code, f"No {what} has this id.")
