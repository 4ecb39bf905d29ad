"""Following a job or a sample set: server-sent events, or the same as JSON."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field, TypeAdapter
from starlette.concurrency import run_in_threadpool

from jobs.errors import JobsError
from jobs.record import Event, Job, SampleSet, Status, TaskRef
from service.context import JobId, Services, ServicesDep, SetId
from service.lookups import missing
from service.problems import caller_responses
from service.views import JobView, SampleSetView

HEARTBEAT_SECONDS = 10.0
RECONNECT_MILLISECONDS = 2_000
_EVENT_STREAM = "text/event-stream"
_AT_ONCE_SECONDS = 0.001
# Between two reads no stream grows by all that it keeps; a slow client may make them longer.
_SURE_SECONDS = 60.0
_JSON = TypeAdapter(dict[str, Any])

LastEventId = Annotated[
    str | None,
    Header(max_length=64, description="The last id seen; only later events are sent."),
]
router = APIRouter(tags=["events"])


class EventView(BaseModel):
    """Something that happened to a task."""

    id: str = Field(description="What to send as Last-Event-ID.")
    type: Literal["status", "phase", "progress", "checkpoint", "preview", "warning", "reset"] = (
        Field(description="reset: some events are gone; `data` is the whole job or set instead.")
    )
    data: dict[str, Any]


class EventPage(BaseModel):
    """Events, oldest first."""

    items: list[EventView]
    next: str | None = Field(description="Give it as Last-Event-ID to get what follows.")


_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": EventPage,
        "description": "A stream that ends with the task, or one page of JSON by `Accept`.",
        "content": {
            _EVENT_STREAM: {
                "schema": {"type": "string"},
                "example": 'event: progress\ndata: {"phase":"training"}\nid: 1763830800000-0\n\n',
            },
        },
    },
    204: {"description": "It has ended and there is nothing new: don't reconnect."},
}


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses={
        **_RESPONSES,
        **caller_responses("unknown_job", "gone", "invalid_request", "store_away"),
    },
)
async def job_events(
    request: Request, job_id: JobId, services: ServicesDep, last_event_id: LastEventId = None
) -> Response:
    """One event for each change of status, phase, progress, preview, checkpoint or warnings."""
    return await _follow(request, services, TaskRef(job_id), last_event_id)


@router.get(
    "/jobs/{job_id}/samples/{set_id}/events",
    summary="Follow a sample set",
    response_class=Response,
    responses={
        **_RESPONSES,
        **caller_responses("unknown_set", "gone", "invalid_request", "store_away"),
    },
)
async def set_events(
    request: Request,
    job_id: JobId,
    set_id: SetId,
    services: ServicesDep,
    last_event_id: LastEventId = None,
) -> Response:
    """As for a job."""
    return await _follow(request, services, TaskRef(job_id, set_id), last_event_id)


async def _follow(
    request: Request, services: Services, ref: TaskRef, last_id: str | None
) -> Response:
    record = await services.reader.get(ref)
    if record is None:
        raise missing(ref, deleted=await services.reader.is_deleted(ref))
    if _wants_json(request.headers.get("accept", "")):
        return await run_in_threadpool(_page, services, ref, last_id)
    if last_id is not None and record.status.terminal:
        news = await services.reader.events(ref, last_id, block_seconds=_AT_ONCE_SECONDS)
        if not news:
            return Response(status_code=204)
    return StreamingResponse(
        _stream(services, ref, last_id),
        media_type=_EVENT_STREAM,
        # Proxies must not collect the stream before they pass it on.
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


def _wants_json(accept: str) -> bool:
    return "application/json" in accept and _EVENT_STREAM not in accept


def _page(services: Services, ref: TaskRef, last_id: str | None) -> Response:
    events = services.tasks.events(ref, last_id)
    page = EventPage(
        items=[_view(event) for event in events], next=events[-1].id if events else last_id
    )
    return JSONResponse(page.model_dump(mode="json"))


async def _stream(services: Services, ref: TaskRef, last_id: str | None) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RECONNECT_MILLISECONDS)
    position, read_at = last_id, -math.inf
    while True:
        is_following = position is not None and time.monotonic() - read_at < _SURE_SECONDS
        try:
            events = await services.reader.events(
                ref, position, block_seconds=HEARTBEAT_SECONDS, is_following=is_following
            )
            read_at = time.monotonic()
            record = None if events else await services.reader.get(ref)
        except JobsError:
            # The status line is long sent: end the stream, and the client comes back with its id.
            return
        for event in events:
            position = event.id
            view = _view(event)
            yield format_sse_event(
                data_str=_JSON.dump_json(view.data).decode(), event=view.type, id=view.id
            )
            if _is_last(event):
                return
        if not events:
            if record is None or record.status.terminal:
                return
            yield format_sse_event(comment="waiting")


def _is_last(event: Event) -> bool:
    return event.type in {"status", "reset"} and Status(event.data["status"]).terminal


def _view(event: Event) -> EventView:
    data = event.data
    if event.type == "reset":
        # The whole record: shown as clients see it, without the machinery's fields.
        data = _record_view(data).model_dump(mode="json")
    return EventView(id=event.id, type=event.type, data=data)


def _record_view(data: dict[str, Any]) -> BaseModel:
    if "job_id" not in data:
        return JobView.of(Job.model_validate(data))
    sample_set = SampleSet.model_validate(data)
    return SampleSetView.of(sample_set, expires_at=None, items=[], items_next=None)
