"""Acting on a job: cancel it, finish its training early, delete it; its newest picture."""

from __future__ import annotations

import hashlib
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Response

from jobs.errors import JobsError, ObjectMissing
from jobs.keeping import keep_end
from jobs.keys import task_prefix
from jobs.record import TaskRef
from jobs.state import Answer
from service.conditional import etag_matches
from service.context import JobId, Services, ServicesDep
from service.documentation import header_docs
from service.lookups import find_job, missing
from service.problems import ProblemError, caller_responses
from service.views import JobView

router = APIRouter(tags=["jobs"])
_LOG = structlog.get_logger(__name__)


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    response_model=JobView,
    summary="Cancel a job",
    responses={
        202: {"description": "A waiting job is cancelled now, a running one within seconds."},
        **caller_responses("unknown_job", "gone", "already_ended", "store_away", "store_full"),
    },
)
def cancel_job(job_id: JobId, services: ServicesDep) -> JobView:
    """Stops the job; what it has learned so far is not kept for sample sets."""
    cancel(services, TaskRef(job_id))
    return JobView.of(find_job(services, job_id))


@router.post(
    "/jobs/{job_id}/finish",
    status_code=202,
    response_model=JobView,
    summary="Stop training now and keep what is learned",
    responses={
        202: {"description": "The job goes on with its default sample set."},
        **caller_responses(
            "unknown_job", "gone", "nothing_learned", "cancelling", "already_ended",
            "store_away", "store_full",
        ),
    },
)  # fmt: skip
def finish_job(job_id: JobId, services: ServicesDep) -> JobView:
    """Ends the training early; the samples are made from the newest checkpoint."""
    answer = services.tasks.request_finish(job_id)
    if answer is Answer.NOTHING_LEARNED:
        raise ProblemError("nothing_learned")
    _check(answer, TaskRef(job_id))
    return JobView.of(find_job(services, job_id))


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete a job and everything stored for it",
    responses={
        204: {"description": "Gone. A running job is cancelled."},
        **caller_responses("unknown_job", "gone", "store_away", "store_full"),
    },
)
def delete_job(job_id: JobId, services: ServicesDep) -> Response:
    """Cancels the job, then removes its inputs, checkpoints and sample sets."""
    delete(services, TaskRef(job_id))
    return Response(status_code=204)


@router.get(
    "/jobs/{job_id}/preview",
    summary="The newest contact sheet",
    response_class=Response,
    responses={
        200: {
            "description": "A picture of what the newest checkpoint makes.",
            "content": {"image/png": {}},
            "headers": header_docs("ETag"),
        },
        304: {"description": "There is no newer picture."},
        **caller_responses("unknown_job", "gone", "no_preview", "store_away"),
    },
)
def preview(
    job_id: JobId,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Watch it learn: there is a new picture about every 30 s of training."""
    key = find_job(services, job_id).preview_key
    if key is None:
        raise ProblemError("no_preview")
    etag = f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag_matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    try:
        content = services.objects.get_bytes(key)
    except ObjectMissing as error:
        raise ProblemError("no_preview", "The picture is just being replaced.") from error
    return Response(content, media_type="image/png", headers=headers)


def cancel(services: Services, ref: TaskRef) -> None:
    """Ask for the end of a job or a set.

    Raises:
        ProblemError: it is unknown, deleted, over, or made by its job.
    """
    answer = services.tasks.request_cancel(ref)
    if answer is Answer.CANCELLING:
        return
    if answer is not Answer.CANCELLED:
        _check(answer, ref)
        return
    try:
        # no worker will end it, so its record is kept here; else housekeeping makes up for it
        keep_end(services.tasks, services.objects, ref)
    except JobsError as error:
        _LOG.warning("end_not_kept", ref=str(ref), error=repr(error))


def delete(services: Services, ref: TaskRef) -> None:
    """Forget a job or a set, and remove what is stored for it.

    Raises:
        ProblemError: it is unknown, deleted, or made by its job's run.
    """
    _check(services.tasks.delete(ref), ref)
    try:
        services.objects.delete_prefix(task_prefix(ref))
    except JobsError as error:
        # It is deleted for every client; housekeeping removes the objects in its next rounds.
        _LOG.warning("objects_left", ref=str(ref), error=repr(error))


def _check(answer: Answer, ref: TaskRef) -> None:
    if answer is Answer.OK:
        return
    refusals = {
        Answer.DONE: ProblemError("already_ended"),
        Answer.CANCELLING: ProblemError("cancelling"),
        Answer.MADE_BY_JOB: ProblemError("made_by_job"),
    }
    if answer in refusals:
        raise refusals[answer]
    raise missing(ref, deleted=answer is Answer.GONE)
