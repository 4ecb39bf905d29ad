"""How an attempt can end other than well; each is one event of the state machine."""

from __future__ import annotations

from typing import ClassVar

from jobs.record import JobFailure

DISK_FULL = JobFailure(
    code="disk_full",
    detail="The worker's disk is full.",
    hint="Make room where the worker keeps its data (ONEPAIR_DATA_DIR), and submit the pair again.",
)
WORKER_FAULT = JobFailure(
    code="worker_fault",
    detail="The worker met an error of its own.",
    hint="The worker's log has the traceback; please report it.",
)


class AttemptEndedError(Exception):
    """Base: the attempt is over without a result.

    Attributes:
        label: of such ends in the metrics.
    """

    label: ClassVar[str]


class CancelRequestedError(AttemptEndedError):
    """The user wants no result: FINISH as cancelled."""

    label = "cancelled"


class ShutdownRequestedError(AttemptEndedError):
    """This worker stops: RELEASE, so that another one goes on from the last checkpoint."""

    label = "released"


class WorkFailedError(AttemptEndedError):
    """The work can't be done, and trying again would not help: FINISH as failed."""

    label = "failed"

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class ChildCrashedError(AttemptEndedError):
    """The child died, hung or met a full disk: STRIKE, and again from the last checkpoint.

    Attributes:
        failure: what the job's record says if this was the last strike.
    """

    label = "struck"

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure
