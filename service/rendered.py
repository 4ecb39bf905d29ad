"""Jobs as clients see them, rendered once a change, however many ask."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from fastapi.responses import JSONResponse

from jobs.record import Job, TaskRef
from jobs.state import AsyncTaskReader, Glance
from service.conditional import record_etag
from service.views import JobView

_KEPT = 1_000


@dataclass(frozen=True)
class RenderedJob:
    """A job's answer.

    Attributes:
        body: JSON.
        etag: of the record.
        is_terminal: whether it will stay as it is.
    """

    body: bytes
    etag: str
    is_terminal: bool


class RenderedJobs:
    """The most recently asked for, as long as they are what Valkey has.

    Args:
        reader: tells whether they still are.
    """

    def __init__(self, reader: AsyncTaskReader) -> None:
        self._reader = reader
        self._kept: OrderedDict[str, tuple[Glance, RenderedJob]] = OrderedDict()

    async def get(self, job_id: str) -> RenderedJob | None:
        """The job as it is now; None: unknown or deleted. Raises ``StoreAway``."""
        ref = TaskRef(job_id)
        glance = await self._reader.glance(ref)
        if glance is None:
            self._kept.pop(job_id, None)
            return None
        kept = self._kept.get(job_id)
        if kept is not None and kept[0] == glance:
            self._kept.move_to_end(job_id)
            return kept[1]
        job = await self._reader.get(ref)
        if not isinstance(job, Job):
            return None
        rendered = render(job)
        self._kept[job_id] = (Glance.of(job), rendered)
        self._kept.move_to_end(job_id)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return rendered


def render(job: Job) -> RenderedJob:
    """The answer that shows a job."""
    answer = JSONResponse(JobView.of(job).model_dump(mode="json"))
    return RenderedJob(bytes(answer.body), record_etag(job), job.status.terminal)
