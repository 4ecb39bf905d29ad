"""What a sample set is for: its zip, and its contact sheet."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from jobs.objects import ObjectInfo
from jobs.record import SampleSet, SetResult, Status
from service.byte_ranges import ByteRange, RangeNotSatisfiableError, parse_range
from service.conditional import etag_matches
from service.context import JobId, Services, ServicesDep, SetId
from service.documentation import header_docs
from service.lookups import find_set, missing
from service.problems import ProblemError, caller_responses

router = APIRouter(tags=["samples"])
_PICTURE_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg"}
_REFUSALS = ("unknown_job", "unknown_set", "gone", "not_ready", "store_away")

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The whole file.",
        "content": {"application/zip": {}},
        "headers": header_docs("ETag", "Accept-Ranges", "Content-Disposition"),
    },
    206: {
        "description": "The part that `Range` asks for.",
        "content": {"application/zip": {}},
        "headers": header_docs("Content-Range", "ETag"),
    },
    303: {
        "description": "To a presigned URL, valid for some minutes, where delivery is `presign`.",
        "headers": header_docs("Location"),
    },
    304: {"description": "The client has this file."},
    **caller_responses(*_REFUSALS, "range_not_satisfiable", "invalid_request"),
}


@router.get(
    "/jobs/{job_id}/samples/{set_id}/archive",
    summary="Download a sample set",
    response_class=Response,
    responses=_RESPONSES,
)
@router.head(
    "/jobs/{job_id}/samples/{set_id}/archive", include_in_schema=False, response_class=Response
)
def archive(
    request: Request,
    job_id: JobId,
    set_id: SetId,
    services: ServicesDep,
    layout: Annotated[
        Literal["hf"],
        Query(alias="format", description="hf: the imagefolder layout of the zip page."),
    ] = "hf",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The zip; with `Range`, a part of it, so that a broken download can go on."""
    result = _result(find_set(services, job_id, set_id))
    headers = {
        "ETag": f'"{result.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
    }
    if etag_matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    filename = f"onepair-{job_id[:8]}-{set_id[:8]}-{layout}.zip"
    url = services.objects.presign(
        result.archive_key,
        expires_seconds=services.settings.presign_seconds,
        filename=filename,
    )
    if url is not None:
        return RedirectResponse(url, status_code=303, headers={"Cache-Control": "no-store"})
    info = services.objects.head(result.archive_key)
    if info is None:
        raise ProblemError("gone", "The archive was deleted.")
    headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return _send(request, services, info, headers)


@router.get(
    "/jobs/{job_id}/samples/{set_id}/contact-sheet",
    summary="The contact sheet of a sample set",
    response_class=Response,
    responses={
        200: {
            "description": "The source, and the pairs with their masks.",
            "content": {"image/jpeg": {}, "image/png": {}},
            "headers": header_docs("ETag"),
        },
        304: {"description": "The client has this picture."},
        **caller_responses(*_REFUSALS, "no_preview"),
    },
)
def contact_sheet(
    job_id: JobId,
    set_id: SetId,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A picture to judge the set by."""
    result = _result(find_set(services, job_id, set_id))
    if result.sheet_key is None:
        raise ProblemError("no_preview", "This set has no contact sheet.")
    etag = f'"{result.sha256[:32]}-sheet"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if etag_matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    media_type = _PICTURE_TYPES[result.sheet_key.rsplit(".", 1)[-1]]
    content = services.objects.get_bytes(result.sheet_key)
    return Response(content, media_type=media_type, headers=headers)


def _result(sample_set: SampleSet) -> SetResult:
    if sample_set.status is not Status.SUCCEEDED:
        raise ProblemError("not_ready", f"The set is {sample_set.status}.")
    if sample_set.result is None:
        raise missing(sample_set.ref, deleted=True)
    return sample_set.result


def _send(
    request: Request, services: Services, info: ObjectInfo, headers: dict[str, str]
) -> Response:
    size_bytes = info.size_bytes
    wanted = _wanted(request, headers["ETag"], size_bytes)
    part = wanted or ByteRange(start=0, end=size_bytes)
    headers["Content-Length"] = str(part.end - part.start)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size_bytes}"
    status_code = 200 if wanted is None else 206
    if request.method == "HEAD":
        return Response(status_code=status_code, headers=headers, media_type="application/zip")
    return StreamingResponse(
        services.objects.stream(info.key, start=part.start, end=part.end),
        status_code=status_code,
        headers=headers,
        media_type="application/zip",
    )


def _wanted(request: Request, etag: str, size_bytes: int) -> ByteRange | None:
    if_range = request.headers.get("if-range")
    if if_range is not None and if_range.strip() != etag:
        return None
    try:
        return parse_range(request.headers.get("range"), size_bytes)
    except RangeNotSatisfiableError as error:
        raise ProblemError(
            "range_not_satisfiable",
            f"The file has {size_bytes} bytes.",
            headers={"Content-Range": f"bytes */{size_bytes}"},
        ) from error
