"""The record of a job and of a sample set: what clients see and workers need.

A *task* is a job or a sample set; both run through the same state machine and are addressed by
a ``TaskRef``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

RECORD_SCHEMA = 1
"""Of the records that this OnePair writes. It grows where an older one would do harm to them;
fields that are only added leave it as it is."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MaskSupervision = Literal["none", "projection", "input_concat", "mask_discriminator", "mca"]


class Status(StrEnum):
    """Where a task is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Whether no event changes it any more (but deletion, and a failed set's retry)."""
        return self in {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED}


class Phase(StrEnum):
    """What a running task does now. A sample set begins at ``generating``."""

    PREPARING = "preparing"
    TRAINING = "training"
    GENERATING = "generating"
    REFINING = "refining"
    SCORING = "scoring"
    PACKING = "packing"


class Kind(StrEnum):
    """Jobs and sample sets wait in queues of their own."""

    JOB = "job"
    SET = "set"


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Names a job (``set_id is None``) or one of its sample sets."""

    job_id: str
    set_id: str | None = None

    @property
    def kind(self) -> Kind:
        """Which queue it waits in."""
        return Kind.JOB if self.set_id is None else Kind.SET

    @property
    def job(self) -> TaskRef:
        """The job it belongs to (itself, for a job)."""
        return TaskRef(self.job_id)

    def __str__(self) -> str:
        return self.job_id if self.set_id is None else f"{self.job_id}/{self.set_id}"

    @classmethod
    def parse(cls, text: str) -> TaskRef:
        """Inverse of ``str``: what a queue message carries."""
        job_id, _, set_id = text.partition("/")
        return cls(job_id, set_id or None)


class Frozen(BaseModel):
    """Base of all records. Unknown fields are ignored: an older process reads a newer record."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SampleSetRequest(Frozen):
    """The parameters that name a sample set."""

    n: int = Field(default=100, ge=1, le=10_000, description="How many are generated.")
    reject_fraction: float = Field(default=0.15, ge=0, lt=1)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    refine: bool = Field(default=True, description="Refine to the output size.")
    screen: bool = Field(
        default=True,
        description="Of several candidates take one with objects shaped as the source's, "
        "and unlike those before.",
    )

    @classmethod
    def for_keep(cls, keep: int, *, reject_fraction: float = 0.15, **fields: Any) -> Self:
        """The smallest ``n`` that leaves exactly ``keep`` survivors (kept never skips a value)."""
        n = keep
        while n - rejected_count(n, reject_fraction) < keep:
            n += 1
        return cls(n=n, reject_fraction=reject_fraction, **fields)


def rejected_count(n: int, reject_fraction: float) -> int:
    """Rejected = floor(r·n + ½), but at least one sample is kept."""
    return min(math.floor(reject_fraction * n + 0.5), n - 1)


class JobRequest(Frozen):
    """The fields of ``POST /jobs``, already validated by the gateway."""

    classes: list[str] | None = Field(default=None, min_length=2, max_length=32)
    mask_encoding: Literal["auto", "index", "binary", "rgb"] = "auto"
    ignore_index: int | None = Field(default=None, ge=0, le=255)
    method: Literal["projected", "osmis"] | None = None
    mask_supervision: MaskSupervision = "mca"
    low_level_blocks: int | None = Field(default=None, ge=1, le=5)
    preset: Literal["draft", "standard", "paper"] = "standard"
    max_size: int | None = Field(default=None, ge=32, le=1_024)
    output_size: str = Field(
        default="native", pattern=r"^(native|train|[1-9]\d{0,4}x[1-9]\d{0,4})$"
    )
    iterations: int | None = Field(default=None, ge=1)
    max_runtime_seconds: int | None = Field(
        default=None, ge=1, description="The training budget, in seconds."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    allow_slow: bool = False
    metadata: dict[str, Any] = Field(default_factory=dict)
    webhook_url: str | None = None
    first_set: SampleSetRequest | None = Field(
        default_factory=SampleSetRequest,
        description="Made as the job's last phase; None: no set is made.",
    )


class ClassInfo(Frozen):
    """One class of the mask."""

    index: int = Field(ge=0, le=31)
    name: str
    area_fraction: float = Field(ge=0, le=1)


class JobInput(Frozen):
    """The normalised pair in the object store (``image.png``, ``mask.png``, ``pair.json``).

    An image that came alone has a blank mask there.
    """

    image_key: str
    mask_key: str
    pair_key: str
    image_sha256: Sha256
    mask_sha256: Sha256
    size_bytes: int = Field(default=0, ge=0, description="Of all of it.")


class Progress(Frozen):
    """Progress of the current phase."""

    step: NonNegativeInt = 0
    total: int | None = Field(default=None, ge=0)
    fraction: float = Field(default=0.0, ge=0, le=1)
    steps_per_second: float | None = Field(default=None, ge=0)
    eta_seconds: float | None = Field(default=None, ge=0)
    losses: dict[str, float] = Field(default_factory=dict)


class JobWarning(Frozen):
    """Something done otherwise than asked, or worth knowing."""

    code: str
    detail: str
    hint: str = ""


class JobFailure(Frozen):
    """Why a task failed."""

    code: str
    detail: str
    hint: str = ""
    log_key: str | None = Field(default=None, description="Object key of the child's log.")


class Checkpoint(Frozen):
    """A published checkpoint: its object exists and has this hash."""

    key: str
    sha256: Sha256
    step: NonNegativeInt
    size_bytes: NonNegativeInt
    final: bool = Field(default=False, description="Training has ended with this one.")


class Engine(Frozen):
    """What makes and scores samples: part of every sample set's id."""

    core_version: str
    scoring_network: str
    scoring_weights_sha256: Sha256


class SetResult(Frozen):
    """What a finished sample set left in the object store."""

    archive_key: str
    size_bytes: NonNegativeInt
    sha256: Sha256
    items_key: str = Field(description="JSON array, one object a sample: seed, score, ranks, kept.")
    sheet_key: str | None = None
    generated: int = Field(ge=1)
    kept: int = Field(ge=1)
    rejected: NonNegativeInt
    metrics: dict[str, Any] = Field(default_factory=dict)


class Task(Frozen):
    """What a job and a sample set have in common."""

    owner: str = Field(default="", description="API key id; empty: keys are off.")
    status: Status = Status.QUEUED
    phase: Phase | None = None
    progress: Progress | None = None
    queue_position: int | None = Field(default=None, description="1 is next; None: not queued.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime
    version: int = Field(default=1, description="Grows with every change: the ETag.")
    schema_version: int = Field(
        default=1, ge=1, description="``RECORD_SCHEMA`` of the newest OnePair that wrote to it."
    )
    warnings: list[JobWarning] = Field(default_factory=list)
    failure: JobFailure | None = None
    metrics: dict[str, Any] = Field(default_factory=dict)
    token: str | None = Field(default=None, description="Fencing token of the newest claim.")
    strikes: int = 0
    losses: int = 0
    cancel_requested: bool = False
    finish_requested: bool = False
    not_before: datetime | None = Field(default=None, description="Queued, but not before then.")
    trace_context: str = Field(
        default="", description="W3C traceparent of the request that made it; empty: not traced."
    )

    @property
    def is_too_new(self) -> bool:
        """Whether a newer OnePair wrote to it: what it names may not be all that is there."""
        return self.schema_version > RECORD_SCHEMA


class Job(Task):
    """A job's whole record."""

    id: str
    request: JobRequest
    input: JobInput
    classes: list[ClassInfo]
    plan: dict[str, Any] = Field(default_factory=dict, description="TrainingPlan.to_dict().")
    effective_config: dict[str, Any] = Field(default_factory=dict)
    expires_at: datetime
    request_id: str = Field(default="", description="Of the request that made it, for the logs.")
    checkpoint: Checkpoint | None = None
    previous_checkpoint: Checkpoint | None = None
    trained: bool = Field(default=False, description="A final checkpoint exists.")
    preview_key: str | None = Field(default=None, description="Newest contact sheet (PNG).")
    engine: Engine | None = None
    first_set_id: str | None = Field(default=None, description="The set made by the job's run.")

    @property
    def ref(self) -> TaskRef:
        """Its address."""
        return TaskRef(self.id)

    @property
    def input_sha256(self) -> Mapping[str, str]:
        """Hashes of the stored image and, where there is one, of its mask."""
        if self.request.mask_supervision == "none":
            return {"image": self.input.image_sha256}
        return {"image": self.input.image_sha256, "mask": self.input.mask_sha256}


class SampleSet(Task):
    """A sample set's whole record."""

    id: str
    job_id: str
    request: SampleSetRequest
    checkpoint: Checkpoint
    engine: Engine
    made_by_job: bool = Field(default=False, description="Made in the job's own run.")
    result: SetResult | None = None

    @property
    def ref(self) -> TaskRef:
        """Its address."""
        return TaskRef(self.job_id, self.id)


class Event(Frozen):
    """One entry of a task's event stream."""

    id: str = Field(description="SSE's id: what a client sends back as Last-Event-ID.")
    type: Literal["status", "phase", "progress", "checkpoint", "preview", "warning", "reset"]
    data: dict[str, Any]
