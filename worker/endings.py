"""How an attempt can end other than well; each is one event of the state machine."""

from __future__ import annotations

from jobs.record import JobFailure


class AttemptEndedError(Exception):
    """Base: the attempt is over without a result."""


class CancelRequestedError(AttemptEndedError):
    """The user wants no result: FINISH as cancelled."""


class ShutdownRequestedError(AttemptEndedError):
    """This worker stops: RELEASE, so that another one goes on from the last checkpoint."""


class WorkFailedError(AttemptEndedError):
    """The work can't be done, and trying again would not help: FINISH as failed."""

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class ChildCrashedError(AttemptEndedError):
    """The child died or hung: STRIKE, and try again from the last checkpoint."""

    def __init__(self, failure: JobFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure
