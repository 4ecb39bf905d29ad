"""What clients see of a job and of a sample set: records without the machinery's fields."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.record import (
    Checkpoint,
    ClassInfo,
    Job,
    JobFailure,
    JobWarning,
    Phase,
    Progress,
    SampleSet,
    SampleSetRequest,
    SetResult,
    Status,
    Task,
)
from service.decoding import ReadNotice, ReadSummary


class FailureView(BaseModel):
    """Why a task failed."""

    code: str
    detail: str
    hint: str

    @classmethod
    def of(cls, failure: JobFailure | None) -> Self | None:
        """The failure without the place of its log."""
        if failure is None:
            return None
        return cls(code=failure.code, detail=failure.detail, hint=failure.hint)


class CheckpointView(BaseModel):
    """The newest checkpoint."""

    step: int
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, checkpoint: Checkpoint | None) -> Self | None:
        """The checkpoint without its place in the store."""
        if checkpoint is None:
            return None
        return cls(step=checkpoint.step, sha256=checkpoint.sha256, size_bytes=checkpoint.size_bytes)


class TaskView(BaseModel):
    """What a job and a sample set have in common."""

    id: str
    status: Status
    phase: Phase | None = Field(description="What it does, while it runs.")
    progress: Progress | None
    queue_position: int | None = Field(description="1 is next; null: not queued.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    warnings: list[JobWarning]
    error: FailureView | None
    metrics: dict[str, Any]
    links: dict[str, str]


class JobView(TaskView):
    """A job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0b5e2f7c9d1a4e6f8a3b2c1d0e9f8a7b",
                    "status": "running",
                    "phase": "training",
                    "progress": {
                        "step": 1200,
                        "total": 4000,
                        "fraction": 0.3,
                        "steps_per_second": 7.5,
                        "eta_seconds": 373.0,
                        "losses": {},
                    },
                    "preset": "standard",
                    "created_at": "2026-11-22T18:00:00Z",
                }
            ]
        }
    )

    expires_at: datetime = Field(description="Everything of the job is removed then.")
    preset: str
    trained: bool = Field(description="Training has ended; sample sets can be made.")
    classes: list[ClassInfo]
    input_sha256: dict[str, str] = Field(description="Hashes of the stored image and mask, if any.")
    plan: dict[str, Any] = Field(description="What was planned when the job was accepted.")
    effective_config: dict[str, Any] = Field(description="What the training really uses.")
    metadata: dict[str, Any]
    checkpoint: CheckpointView | None
    sample_set_id: str | None = Field(description="The set made as the job's last phase.")

    @classmethod
    def of(cls, job: Job) -> Self:
        """What clients see of ``job``."""
        return cls(
            **_common(job),
            id=job.id,
            links=_job_links(job),
            expires_at=job.expires_at,
            preset=job.request.preset,
            trained=job.trained,
            classes=job.classes,
            input_sha256=dict(job.input_sha256),
            plan=job.plan,
            effective_config=job.effective_config,
            metadata=job.request.metadata,
            checkpoint=CheckpointView.of(job.checkpoint),
            sample_set_id=job.first_set_id,
        )


class JobPage(BaseModel):
    """Some of the jobs, newest first."""

    items: list[JobView]
    next: str | None = Field(description="Give it as `after` for the next page; null: the last.")


class DownloadView(BaseModel):
    """Where the archive is."""

    url: str
    expires_at: datetime | None
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, result: SetResult, url: str, expires_at: datetime | None) -> Self:
        """The archive of a finished set."""
        return cls(
            url=url, expires_at=expires_at, size_bytes=result.size_bytes, sha256=result.sha256
        )


class SampleSetView(TaskView):
    """A sample set; ``download`` and ``items`` once it has succeeded."""

    job_id: str
    request: SampleSetRequest
    requested: int
    generated: int | None
    kept: int | None
    rejected: int | None
    checkpoint_sha256: str
    download: DownloadView | None
    contact_sheet_url: str | None
    items: list[dict[str, Any]] = Field(
        description="A page of the samples: index, seed, score, ranks by layer, kept, reason."
    )
    items_next: int | None = Field(description="Give it as `items_after`; null: the last page.")

    @classmethod
    def of(
        cls,
        sample_set: SampleSet,
        *,
        expires_at: datetime | None,
        items: list[dict[str, Any]],
        items_next: int | None,
    ) -> Self:
        """What clients see of ``sample_set``."""
        result = sample_set.result if sample_set.status is Status.SUCCEEDED else None
        links = _set_links(sample_set)
        return cls(
            **_common(sample_set),
            id=sample_set.id,
            links=links,
            job_id=sample_set.job_id,
            request=sample_set.request,
            requested=sample_set.request.n,
            generated=None if result is None else result.generated,
            kept=None if result is None else result.kept,
            rejected=None if result is None else result.rejected,
            checkpoint_sha256=sample_set.checkpoint.sha256,
            download=DownloadView.of(result, links["archive"], expires_at) if result else None,
            contact_sheet_url=links.get("contact_sheet"),
            items=items,
            items_next=items_next,
        )


class SizeView(BaseModel):
    """Width and height in pixels."""

    width: int
    height: int


class DryRunView(BaseModel):
    """How a pair was read and what would be done; nothing was stored."""

    image_size: SizeView
    is_grey: bool
    mask_encoding: str = Field(description="How the mask was read; none: there is none.")
    mask_encoding_declared: bool = Field(description="False: it was detected.")
    classes: list[ClassInfo]
    planned_size: SizeView = Field(description="The size the training works at.")
    output_size: SizeView = Field(description="The size of the delivered images.")
    method: str
    mask_supervision: str
    preset: str
    iterations: int | None
    training_seconds: float | None
    estimated_seconds: float = Field(description="Training and the first 100 samples.")
    plan: dict[str, Any]
    warnings: list[JobWarning]

    @classmethod
    def of(cls, read: ReadSummary) -> Self:
        """What clients see of a pair that was only read."""
        plan = read.plan
        size = plan["size"]
        return cls(
            image_size=SizeView(width=read.width, height=read.height),
            is_grey=read.is_grey,
            mask_encoding=read.encoding,
            mask_encoding_declared=read.encoding_declared,
            classes=class_infos(read),
            planned_size=SizeView(width=size["train_w"], height=size["train_h"]),
            output_size=SizeView(width=plan["output_w"], height=plan["output_h"]),
            method=plan["method"],
            mask_supervision=plan["mask_supervision"],
            preset=plan["preset"],
            iterations=plan["iterations"],
            training_seconds=plan["training_seconds"],
            estimated_seconds=plan["estimated_seconds"],
            plan=plan,
            warnings=warnings_of(read.notices),
        )


def class_infos(read: ReadSummary) -> list[ClassInfo]:
    """The classes as the job's record keeps them."""
    return [ClassInfo(**one.model_dump()) for one in read.classes]


def warnings_of(notices: list[ReadNotice]) -> list[JobWarning]:
    """What the reader noticed, as the job's first warnings."""
    return [JobWarning(code=notice.code, detail=notice.detail) for notice in notices]


def _common(task: Task) -> dict[str, Any]:
    return {
        "status": task.status,
        "phase": task.phase,
        "progress": task.progress,
        "queue_position": task.queue_position,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "warnings": task.warnings,
        "error": FailureView.of(task.failure),
        "metrics": task.metrics,
    }


def _job_links(job: Job) -> dict[str, str]:
    own = f"/jobs/{job.id}"
    links = {"self": own, "events": f"{own}/events", "samples": f"{own}/samples"}
    if job.preview_key is not None:
        links["preview"] = f"{own}/preview"
    if not job.status.terminal:
        links["cancel"] = f"{own}/cancel"
        links["finish"] = f"{own}/finish"
    if job.first_set_id is not None:
        links["sample_set"] = f"{own}/samples/{job.first_set_id}"
    return links


def _set_links(sample_set: SampleSet) -> dict[str, str]:
    own = f"/jobs/{sample_set.job_id}/samples/{sample_set.id}"
    links = {"self": own, "job": f"/jobs/{sample_set.job_id}", "events": f"{own}/events"}
    if sample_set.status is Status.SUCCEEDED:
        links["archive"] = f"{own}/archive"
        if sample_set.result is not None and sample_set.result.sheet_key is not None:
            links["contact_sheet"] = f"{own}/contact-sheet"
    if not sample_set.status.terminal:
        links["cancel"] = f"{own}/cancel"
    return links
