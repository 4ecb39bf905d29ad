"""What the state machine answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from jobs.keys import attempt_prefix
from jobs.record import (
    ClassInfo,
    Job,
    JobFailure,
    JobInput,
    JobRequest,
    JobWarning,
    Phase,
    Progress,
    SampleSet,
    SetResult,
    Status,
    TaskRef,
)


class Answer(StrEnum):
    """One word for each outcome of an event; ``docs/reliability.md`` has the whole table."""

    OK = "ok"
    CREATED = "created"
    REPLAYED = "replayed"  # same Idempotency-Key, same request: the job as it is
    EXISTS = "exists"  # the set is there already (any status but failed or cancelled)
    RESTARTED = "restarted"  # a failed or cancelled set was queued again
    CONFLICT = "conflict"  # same Idempotency-Key, another request: 409 idempotency_conflict
    GONE = "gone"  # deleted (a tombstone): 410
    UNKNOWN = "unknown"  # never existed: 404
    TOO_MANY = "too_many"  # 429 too_many_sets / too_many_jobs
    TOO_MUCH = "too_much"  # the owner has stored as much as it may: 429 storage_used_up
    CROWDED = "crowded"  # the owner keeps as many jobs as it may: 429 too_many_kept_jobs
    NOT_TRAINED = "not_trained"  # training has not ended: 409
    NO_CHECKPOINT = "no_checkpoint"  # ended without one: 409
    NOTHING_LEARNED = "nothing_learned"  # finish asked for before a checkpoint: 409
    MADE_BY_JOB = "made_by_job"  # the set belongs to its job's run: act on the job
    CLAIMED = "claimed"
    HELD = "held"  # another worker has a live lease
    EARLY = "early"  # queued, but its delay is not over
    DONE = "done"  # terminal
    NEWER = "newer"  # a newer OnePair has written it: left to workers that know its schema
    EMPTY = "empty"  # nothing is due
    CANCELLED = "cancelled"  # the cancel flag won: the task is now cancelled
    CANCELLING = "cancelling"  # a running task will stop at its next beat
    FAILED = "failed"  # given up: third strike or tenth loss
    REQUEUED = "requeued"
    REFUSED = "refused"  # not the current token: stop at once, write nothing more


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """What the gateway knows when it creates a job; the inputs are stored already.

    Times come from the server. ``idempotency_key`` is the client's header; with it goes
    ``fingerprint`` (``keys.request_fingerprint``). ``request_id`` names the request in the logs,
    ``trace_context`` in the traces.
    """

    id: str
    request: JobRequest
    input: JobInput
    classes: tuple[ClassInfo, ...]
    plan: dict[str, Any] = field(default_factory=dict)
    owner: str = ""
    warnings: tuple[JobWarning, ...] = ()
    idempotency_key: str | None = None
    fingerprint: str | None = None
    request_id: str = ""
    trace_context: str = ""


@dataclass(frozen=True, kw_only=True)
class CreateAnswer:
    """``answer``: created, replayed, conflict, gone, too_many, crowded or too_much.

    ``job`` comes with the first two.

    When it is not ``created``, the caller deletes the inputs it has just uploaded.
    """

    answer: Answer
    job: Job | None = None


@dataclass(frozen=True, kw_only=True)
class CreateSetAnswer:
    """``answer``: created, restarted, exists, or why not: see ``TaskStore.create_set``.

    ``sample_set`` for the first three; ring it after created or restarted.
    ``gone`` for a living job means that this very set was deleted a moment ago: its objects are
    still being swept (2 × lease), try again then.
    """

    answer: Answer
    sample_set: SampleSet | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to work on a task until the lease ends; every write carries ``token``.

    ``job`` is the record at the time of the claim (checkpoint to resume from, flags, warnings so
    far); ``sample_set`` is set when the task is a set.
    """

    ref: TaskRef
    token: str
    lease_seconds: float
    job: Job
    sample_set: SampleSet | None = None

    @property
    def task(self) -> Job | SampleSet:
        """The record of the claimed task itself."""
        return self.sample_set or self.job

    @property
    def prefix(self) -> str:
        """Object prefix of this attempt: ``…/a<token>/``."""
        return attempt_prefix(self.ref, self.token)


@dataclass(frozen=True, kw_only=True)
class ClaimAnswer:
    """``answer``: claimed, held, early, done, cancelled, gone, unknown, newer, empty.

    ``ref``: of which task; None: of none.
    """

    answer: Answer
    ref: TaskRef | None = None
    claim: Claim | None = None


@dataclass(frozen=True, kw_only=True)
class BeatReport:
    """What a heartbeat may carry; None and empty change nothing.

    Send progress at most once a second: each report is one synchronous write. ``warnings`` are
    added to those on record (equal ones once).
    """

    phase: Phase | None = None
    progress: Progress | None = None
    warnings: tuple[JobWarning, ...] = ()
    preview_key: str | None = None
    effective_config: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class BeatAnswer:
    """``refused``: the token is old or the task is gone; kill the child, remove the prefix.

    ``cancel``: stop, then ``finish`` with status cancelled. ``finish``: stop training, keep what
    is learned and go on with the next phase.
    """

    refused: bool = False
    cancel: bool = False
    finish: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishAnswer:
    """``refused`` as in a beat; ``obsolete``: older checkpoints' keys, for the holder to delete."""

    refused: bool = False
    obsolete: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a claim ended. ``failure`` goes with failed.

    ``result``: of a set task, or of the first set when a job succeeds (``adopt_first_set`` was
    called before). Both records become succeeded in the same script.
    """

    status: Literal[Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]
    failure: JobFailure | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    result: SetResult | None = None
    warnings: tuple[JobWarning, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of jobs, newest first; ``next`` is the cursor of the following page."""

    items: tuple[Job, ...]
    next: str | None


@dataclass(frozen=True, kw_only=True)
class ReapReport:
    """What a round of REAP did; ``busy``: another process had its turn a moment ago."""

    busy: bool = False
    requeued: tuple[TaskRef, ...] = ()
    failed: tuple[TaskRef, ...] = ()
    cancelled: tuple[TaskRef, ...] = ()
    expired: tuple[TaskRef, ...] = ()
    unkept: tuple[TaskRef, ...] = ()
    ring: tuple[TaskRef, ...] = ()
    sweep: tuple[TaskRef, ...] = ()
