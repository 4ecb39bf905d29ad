"""Sample sets: a view that makes itself. The parameters name the set; asking starts it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse

from jobs.errors import ObjectMissing
from jobs.keys import sample_set_id
from jobs.record import Job, SampleSet, SampleSetRequest, Status, TaskRef
from jobs.state import Answer
from jobs.tracing import current_trace_context
from service.access import Caller, CallerDep
from service.context import JobId, Services, ServicesDep, SetId
from service.documentation import header_docs
from service.forms import SetParameters, SetQuery
from service.lookups import find_job, find_set, missing
from service.problems import ProblemError, caller_responses
from service.routes.control import cancel, delete
from service.views import JobView, SampleSetView

MIN_RETRY_SECONDS = 1
MAX_RETRY_SECONDS = 60
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"model": SampleSetView, "description": "The set has ended: ready, failed or cancelled."},
    202: {
        "model": SampleSetView,
        "description": "The set is being made; look again after `Retry-After`.",
        "headers": header_docs("Location", "Retry-After"),
    },
}
_START_REFUSALS = (
    "unknown_job", "gone", "invalid_request", "not_trained", "no_checkpoint", "being_deleted",
    "too_many_sets", "storage_used_up", "store_away", "store_full",
)  # fmt: skip

router = APIRouter(tags=["samples"])


@router.get(
    "/jobs/{job_id}/samples",
    summary="The sample set with these parameters; the first call starts it",
    response_model=SampleSetView,
    responses={**_RESPONSES, **caller_responses(*_START_REFUSALS)},
)
def get_samples(
    job_id: JobId,
    services: ServicesDep,
    caller: CallerDep,
    query: SetParameters,
    sec_purpose: Annotated[str, Header(include_in_schema=False)] = "",
    purpose: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """The same parameters always give the same set. POST repeats a failed one."""
    request = query.to_request()
    existing = _existing(services, job_id, request)
    if existing is not None:
        return _answer(services, existing, query)
    if "prefetch" in f"{sec_purpose} {purpose}":
        raise ProblemError("unknown_set", "The set is not started by a prefetch.")
    return _start(services, caller, job_id, request, query)


@router.head("/jobs/{job_id}/samples", include_in_schema=False)
def head_samples(job_id: JobId, services: ServicesDep, query: SetParameters) -> Response:
    """Only looks, as HEAD must."""
    existing = _existing(services, job_id, query.to_request())
    if existing is None:
        raise ProblemError("unknown_set")
    return _answer(services, existing, query)


@router.post(
    "/jobs/{job_id}/samples",
    summary="Start the sample set with these parameters",
    status_code=202,
    response_model=SampleSetView,
    responses={**_RESPONSES, **caller_responses(*_START_REFUSALS)},
)
def start_samples(
    job_id: JobId, services: ServicesDep, caller: CallerDep, query: SetParameters
) -> Response:
    """Starts the set unless it is there already; a failed or cancelled one is made again."""
    return _start(services, caller, job_id, query.to_request(), query)


@router.get(
    "/jobs/{job_id}/samples/{set_id}",
    summary="Look at a sample set",
    response_model=SampleSetView,
    responses={
        200: {"description": "The set, whatever its status."},
        **caller_responses("unknown_job", "unknown_set", "gone", "invalid_request", "store_away"),
    },
)
def get_set(job_id: JobId, set_id: SetId, services: ServicesDep, query: SetParameters) -> Response:
    """Only looks. Of the parameters, those for paging apply."""
    sample_set = find_set(services, job_id, set_id)
    return _answer(services, sample_set, query, unfinished_status=200)


@router.post(
    "/jobs/{job_id}/samples/{set_id}/cancel",
    summary="Cancel a sample set",
    status_code=202,
    response_model=SampleSetView,
    responses={
        202: {"description": "A waiting set is cancelled now, a running one within seconds."},
        **caller_responses(
            "unknown_job", "unknown_set", "gone", "already_ended", "made_by_job", "store_away",
            "store_full",
        ),
    },
)  # fmt: skip
def cancel_set(job_id: JobId, set_id: SetId, services: ServicesDep) -> Response:
    """Stops making the set; POST of its parameters makes it again."""
    cancel(services, TaskRef(job_id, set_id))
    return _answer(services, find_set(services, job_id, set_id), SetQuery(), unfinished_status=202)


@router.delete(
    "/jobs/{job_id}/samples/{set_id}",
    summary="Delete a sample set",
    status_code=204,
    responses={
        204: {"description": "Its archive is removed."},
        **caller_responses(
            "unknown_job", "unknown_set", "gone", "made_by_job", "store_away", "store_full"
        ),
    },
)
def delete_set(job_id: JobId, set_id: SetId, services: ServicesDep) -> Response:
    """Removes the set; the job stays."""
    delete(services, TaskRef(job_id, set_id))
    return Response(status_code=204)


def _existing(services: Services, job_id: str, request: SampleSetRequest) -> SampleSet | None:
    job = find_job(services, job_id)
    if not job.trained and not job.status.terminal:
        raise _not_trained(job)
    if job.checkpoint is None or job.engine is None:
        raise ProblemError("no_checkpoint", f"The job {job.status} without a checkpoint.")
    return services.tasks.get_set(
        job_id, sample_set_id(job_id, job.checkpoint, request, job.engine)
    )


def _start(
    services: Services, caller: Caller, job_id: str, request: SampleSetRequest, query: SetQuery
) -> Response:
    created = services.tasks.create_set(
        job_id, request, owner=caller.owner, trace_context=current_trace_context()
    )
    if created.sample_set is None:
        raise _refusal(services, job_id, created.answer)
    if created.answer in {Answer.CREATED, Answer.RESTARTED}:
        services.queue.ring(created.sample_set.ref)
    return _answer(services, created.sample_set, query)


def _answer(
    services: Services, sample_set: SampleSet, query: SetQuery, *, unfinished_status: int = 202
) -> Response:
    items, items_next = _items(services, sample_set, query)
    job = services.tasks.get_job(sample_set.job_id)
    view = SampleSetView.of(
        sample_set,
        expires_at=None if job is None else job.expires_at,
        items=items,
        items_next=items_next,
    )
    # A GET that starts something must never be answered from a cache.
    headers = {"Cache-Control": "no-store"}
    status_code = 200
    if not sample_set.status.terminal:
        status_code = unfinished_status
        headers["Location"] = view.links["self"]
        headers["Retry-After"] = str(_retry_seconds(sample_set))
    return JSONResponse(view.model_dump(mode="json"), status_code=status_code, headers=headers)


def _retry_seconds(sample_set: SampleSet) -> int:
    eta_seconds = sample_set.progress.eta_seconds if sample_set.progress else None
    if eta_seconds is None:
        return 2
    return round(min(max(eta_seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS))


def _items(
    services: Services, sample_set: SampleSet, query: SetQuery
) -> tuple[list[dict[str, Any]], int | None]:
    """A page of the samples, and the index to go on from."""
    if sample_set.result is None or sample_set.status is not Status.SUCCEEDED:
        return [], None
    if query.items_limit == 0:
        return [], query.items_after
    try:
        everything = json.loads(services.objects.get_bytes(sample_set.result.items_key))
    except ObjectMissing as error:
        raise missing(sample_set.ref, deleted=True) from error
    first = query.items_after + 1
    page = everything[first : first + query.items_limit]
    is_last = first + query.items_limit >= len(everything)
    return page, None if is_last else first + len(page) - 1


def _not_trained(job: Job) -> ProblemError:
    doing = job.phase or job.status
    step = f": step {job.progress.step}" if job.progress else ""
    if job.progress and job.progress.total:
        step += f" of {job.progress.total}"
    view = JobView.of(job).model_dump(
        mode="json", include={"id", "status", "phase", "progress", "queue_position"}
    )
    return ProblemError("not_trained", f"The job is {doing}{step}.", members={"job": view})


def _refusal(services: Services, job_id: str, answer: Answer) -> ProblemError:
    if answer is Answer.NOT_TRAINED:
        return _not_trained(find_job(services, job_id))
    if answer is Answer.GONE and services.tasks.get_job(job_id) is not None:
        return ProblemError("being_deleted")
    refusals = {
        Answer.NO_CHECKPOINT: ProblemError("no_checkpoint"),
        Answer.TOO_MANY: ProblemError("too_many_sets"),
        Answer.TOO_MUCH: ProblemError("storage_used_up"),
    }
    return refusals.get(answer) or missing(TaskRef(job_id), deleted=answer is Answer.GONE)
