"""Submitting jobs and looking at them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from jobs.record import Status, TaskRef
from service.access import CallerDep
from service.conditional import etag_matches, known_version, record_etag
from service.context import JobId, ServicesDep
from service.documentation import header_docs
from service.forms import JobForm
from service.lookups import missing, wait_for
from service.problems import FieldError, ProblemError, caller_responses
from service.submission import read_only, submit
from service.views import DryRunView, JobPage, JobView

POLL_SECONDS = 2
MAX_WAIT_SECONDS = 60
_UPLOAD_REFUSALS = (
    "malformed", "image_missing", "mask_missing", "mask_not_used", "needs_osmis",
    "too_many_low_level_blocks", "slow_upload", "too_large", "too_many_pixels",
    "unsupported_image", "name_mismatch", "broken_image", "animated", "size_mismatch",
    "too_small", "bad_aspect", "single_class", "undeclared_index", "lossy_mask",
    "too_many_classes", "encoding_mismatch", "not_binary", "class_count_mismatch", "bad_classes",
    "bad_pair", "bad_option", "bad_output_size", "needs_gpu", "too_complex", "invalid_request",
    "idempotency_conflict", "gone", "too_many_jobs", "too_many_kept_jobs", "storage_used_up",
    "busy", "store_away", "store_full",
)  # fmt: skip

router = APIRouter(tags=["jobs"])


@router.post(
    "/jobs",
    status_code=202,
    response_model=JobView,
    summary="Submit an image and its mask, or an image alone",
    responses={
        200: {
            "model": DryRunView,
            "description": "With dry_run=true: how the pair was read; nothing was stored.",
        },
        202: {
            "model": JobView,
            "description": "Accepted, and durable: the job will run.",
            "headers": header_docs("Location", "Retry-After", "Idempotent-Replayed", "ETag"),
        },
        **caller_responses(*_UPLOAD_REFUSALS),
    },
)
async def create_job(
    request: Request,
    form: Annotated[JobForm, Form(media_type="multipart/form-data")],
    services: ServicesDep,
    caller: CallerDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=200,
            description="The same key and body give the same job, for 24 hours.",
        ),
    ] = None,
) -> Response:
    """Reads and checks the pair, stores it, and queues a job for it."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise ProblemError("malformed", "The body is not multipart/form-data.")
    if form.dry_run:
        return _json(DryRunView.of(await read_only(services, form)))
    submitted = await submit(services, form, idempotency_key, owner=caller.owner)
    job = submitted.job
    headers = {
        "Location": f"/jobs/{job.id}",
        "Retry-After": str(POLL_SECONDS),
        "ETag": record_etag(job),
    }
    if submitted.replayed:
        headers["Idempotent-Replayed"] = "true"
    return _json(JobView.of(job), status_code=202, headers=headers)


@router.get(
    "/jobs",
    response_model=JobPage,
    summary="List jobs, newest first",
    responses=caller_responses("invalid_request", "store_away"),
)
def list_jobs(
    services: ServicesDep,
    caller: CallerDep,
    status: Annotated[Status | None, Query(description="Only these.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None, Query(max_length=80, description="`next` of the page before.")
    ] = None,
) -> JobPage:
    """A page of the jobs."""
    try:
        page = services.tasks.list_jobs(
            owner=caller.key_id, status=status, limit=limit, after=after
        )
    except ValueError as error:
        raise ProblemError(
            "invalid_request",
            "1 field is not valid: after.",
            errors=[
                FieldError(field="after", code="bad_cursor", message="Not a `next` of this service")
            ],
        ) from error
    return JobPage(items=[JobView.of(job) for job in page.items], next=page.next)


@router.get(
    "/jobs/{job_id}",
    response_model=JobView,
    summary="Look at a job, or wait for it to change",
    responses={
        200: {"headers": header_docs("ETag", "Retry-After")},
        304: {"description": "Nothing has changed since the given ETag."},
        **caller_responses("unknown_job", "gone", "invalid_request", "store_away"),
    },
)
async def get_job(
    job_id: JobId,
    services: ServicesDep,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            allow_inf_nan=False,
            description="Seconds to wait for a change: since `If-None-Match`, or since now.",
        ),
    ] = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The job; with `wait`, as soon as it changes."""
    ref = TaskRef(job_id)
    if wait > 0:
        await wait_for(services, ref, known_version(if_none_match), wait)
    shown = await services.rendered.get(job_id)
    if shown is None:
        raise missing(ref, deleted=await services.reader.is_deleted(ref))
    headers = {"ETag": shown.etag, "Cache-Control": "no-cache"}
    if not shown.is_terminal:
        headers["Retry-After"] = str(POLL_SECONDS)
    if etag_matches(if_none_match, shown.etag):
        return Response(status_code=304, headers=headers)
    return Response(shown.body, media_type="application/json", headers=headers)


def _json(
    body: BaseModel, *, status_code: int = 200, headers: dict[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status_code=status_code, headers=headers)
