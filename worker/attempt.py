"""One claim of one task, from the first input fetched to the last word in the record."""

from __future__ import annotations

import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import structlog

from jobs.errors import ObjectMissing
from jobs.keeping import discard_leftovers, keep_end
from jobs.record import (
    Checkpoint,
    JobFailure,
    JobWarning,
    Phase,
    Progress,
    Status,
)
from jobs.state import Answer, Claim, Outcome
from jobs.terminal import settle
from worker.attempt_trace import AttemptTrace
from worker.child_process import ChildProcess, child_environment, oom_kills
from worker.child_run import ChildRun
from worker.courier import Courier
from worker.endings import (
    DISK_FULL,
    AttemptEndedError,
    CancelRequestedError,
    ChildCrashedError,
    ShutdownRequestedError,
    WorkFailedError,
)
from worker.hang_watch import HangWatch
from worker.lease import Lease, LeaseLostError
from worker.protocol import Assignment, Ending, FailureReport, StoppedReport
from worker.transfers import Transfers
from worker.workshop import Workshop

log = structlog.get_logger(__name__)

T = TypeVar("T")
WAIT_SECONDS = 0.2
LESS_MEMORY = "less_memory"
LOG_FILE = "child.log"


class Attempt(ABC):
    """Works on a claimed task. Subclasses say what the work is.

    Args:
        shop: what attempts share.
        claim: the right to work.
        stopping: set when the worker shuts down.

    Attributes:
        met_full_disk: it has failed for want of room on this worker's disk.
    """

    def __init__(self, shop: Workshop, claim: Claim, stopping: threading.Event) -> None:
        self.shop = shop
        self.claim = claim
        self.stopping = stopping
        self.folder = shop.folder / f"{claim.ref.job_id}-{claim.token}"
        self.trace = AttemptTrace(claim)
        self.lease = Lease(
            shop.store,
            claim,
            beat_seconds=shop.settings.beat_seconds,
            on_phase=self.trace.enter,
        )
        self.transfers = Transfers(shop.objects, shop.metrics)
        self.courier = Courier(
            shop.store,
            self.lease,
            self.transfers,
            folder=self.folder,
            engine=claim.job.engine,
        )
        self.is_smaller = any(warning.code == LESS_MEMORY for warning in claim.task.warnings)
        self.met_full_disk = False

    @abstractmethod
    def work(self) -> Outcome:
        """Does the work.

        Raises:
            AttemptEndedError: it ended without a result.
            LeaseLostError: the claim is lost.
        """

    def run(self) -> None:
        """Works, and brings the end into the record."""
        self.folder.mkdir(parents=True)
        with structlog.contextvars.bound_contextvars(
            job=self.claim.job.id, request_id=self.claim.job.request_id
        ):
            self._run_in_folder()

    def _run_in_folder(self) -> None:
        log.info("attempt_begins", task=str(self.claim.ref), token=self.claim.token)
        try:
            with (
                self.trace.attempt(),
                self.transfers,
                self.shop.metrics.attempt(self.claim.ref.kind),
            ):
                end = self._run_to_record()
                self.trace.ended(end)
            self.shop.metrics.attempt_ended(self.claim.ref.kind, end)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def run_child(self, assignment: Callable[[bool], Assignment]) -> Ending:
        """Runs a child to its end; once more, smaller, when it runs out of memory.

        Args:
            assignment: what the child shall do, given whether it has to be smaller.

        Returns:
            What the child reported: trained or sampled.

        Raises:
            AttemptEndedError: cancelled, shut down, failed, crashed or hung.
            LeaseLostError: the claim is lost.
        """
        kills_before = oom_kills()
        child = ChildProcess(
            self.shop.child_command,
            assignment(self.is_smaller),
            self.folder / LOG_FILE,
            env=child_environment(self.shop.settings.data_dir / "cache"),
        )
        ending = ChildRun(
            child,
            self.lease,
            self.courier,
            hang_watch=HangWatch(self.shop.settings),
            metrics=self.shop.metrics,
            stopping=self.stopping,
            stop_seconds=self.shop.stop_seconds,
        ).run()
        self.settle_courier()
        self.lease.tick(now=True)  # what the child has said last, before the task can end
        match ending:
            case None if self.stopping.is_set() and not child.was_killed_by_others:
                raise ShutdownRequestedError  # it took too long to stop, which is not its fault
            case None if _ran_out_of_memory(child, kills_before):
                return self._run_smaller(assignment)
            case None:
                raise ChildCrashedError(_crash(child))
            case FailureReport(memory=True):
                return self._run_smaller(assignment)
            case FailureReport():
                failure = JobFailure(code=ending.code, detail=ending.detail, hint=ending.hint)
                raise ChildCrashedError(failure) if ending.again else WorkFailedError(failure)
            case StoppedReport():
                raise ShutdownRequestedError
            case _:
                return ending

    def _run_smaller(self, assignment: Callable[[bool], Assignment]) -> Ending:
        if self.is_smaller:
            raise WorkFailedError(
                JobFailure(
                    code="out_of_memory",
                    detail="The work ran out of memory twice, the second time made smaller.",
                    hint="Use a smaller max_size or output_size, or a worker with more memory.",
                )
            )
        self.is_smaller = True
        self.lease.warn(
            JobWarning(
                code=LESS_MEMORY,
                detail="The work ran out of memory and goes on with smaller batches.",
                hint="A smaller max_size, or a worker with more memory, avoids this.",
            )
        )
        self.lease.tick(now=True)
        return self.run_child(assignment)

    def fetch_inputs(self) -> None:
        """Gets the pair into the attempt's folder.

        Raises:
            WorkFailedError: an input is gone.
        """
        stored = self.claim.job.input
        files = {"image.png": stored.image_key, "mask.png": stored.mask_key}
        files["pair.json"] = stored.pair_key
        total = len(files) + 1  # and the checkpoint
        for done, (name, key) in enumerate(files.items()):
            self.lease.report(
                phase=Phase.PREPARING,
                progress=Progress(step=done, total=total, fraction=done / total),
            )
            self.lease.tick(now=done == 0)
            try:
                self.wait_for(self.transfers.fetch(key, self.folder / name))
            except ObjectMissing as error:
                raise WorkFailedError(
                    JobFailure(
                        code="input_missing",
                        detail=f"{name} is no longer in the object store.",
                        hint="Submit the pair again.",
                    )
                ) from error

    def fetch_checkpoint(self, checkpoint: Checkpoint) -> str | None:
        """Gets a published checkpoint into the folder.

        Returns:
            Its file's name there, or None when it is missing or damaged.
        """
        name = f"resume-{checkpoint.step:08d}.safetensors"
        is_whole = self.wait_for(self.transfers.fetch_checkpoint(checkpoint, self.folder / name))
        return name if is_whole else None

    def wait_for(self, future: Future[T]) -> T:
        """A transfer's result; beats meanwhile, and gives up when there is nothing to wait for.

        Raises:
            LeaseLostError: the claim is lost.
            CancelRequestedError: the user has cancelled.
            ShutdownRequestedError: the worker shuts down.
        """
        while not wait([future], timeout=WAIT_SECONDS).done:
            self.lease.tick()
            if self.lease.cancel:
                raise CancelRequestedError
            if self.stopping.is_set():
                raise ShutdownRequestedError
        return future.result()

    def settle_courier(self) -> None:
        """Waits until what the child has written is published; bounded when shutting down."""
        deadline: float | None = None
        while not self.courier.is_idle:
            self.courier.tick()
            self.lease.tick()
            if self.lease.cancel:
                raise CancelRequestedError
            if self.stopping.is_set():
                deadline = deadline or time.monotonic() + self.shop.stop_seconds
                if time.monotonic() > deadline:
                    raise ShutdownRequestedError
            time.sleep(WAIT_SECONDS / 10)

    def _run_to_record(self) -> str:
        """Works, and records; how it ended, for the metrics."""
        try:
            outcome = self.work()
            settled = self.wait_for(
                self.transfers.submit(settle, self.shop.objects, self.claim, outcome)
            )
            answer = self._record(self.shop.store.finish, self.claim, settled)
            end = "succeeded" if answer == Answer.OK else answer
        except LeaseLostError as lost:
            log.warning("lease_lost", reason=str(lost))
            store, objects, claim = self.shop.store, self.shop.objects, self.claim
            self._patiently(discard_leftovers, store, objects, claim.ref, claim.token)
            return "lease_lost"
        except AttemptEndedError as ended:
            answer = self._record_end(ended)
            # given up (the last strike or loss) is a failure, whatever it was
            end = ended.label if answer in {Answer.OK, Answer.REQUEUED} else answer
        self._patiently(keep_end, self.shop.store, self.shop.objects, self.claim.ref)
        return end

    def _record_end(self, end: AttemptEndedError) -> str:
        """The last word of an attempt without a result; what was answered."""
        store = self.shop.store
        reason = f"{type(end).__name__} {end}".strip()
        log.warning("attempt_without_result", task=str(self.claim.ref), reason=reason)
        match end:
            case CancelRequestedError():
                cancelled = Outcome(status=Status.CANCELLED)
                return self._record(store.finish, self.claim, cancelled)
            case ShutdownRequestedError():
                return self._record(store.release, self.claim)
            case WorkFailedError():
                failure = self._with_log(end.failure)
                failed = Outcome(status=Status.FAILED, failure=failure)
                return self._record(store.finish, self.claim, failed)
            case ChildCrashedError():
                self.met_full_disk = end.failure.code == DISK_FULL.code
                return self._record(store.strike, self.claim, self._with_log(end.failure))
        raise end

    def _record(self, event: Callable[..., Answer], *arguments: Any) -> str:
        """The last word; what the state machine answers, or ``unheard``."""
        answer = self._patiently(event, *arguments)
        log.info("attempt_ends", task=str(self.claim.ref), answer=str(answer or "unheard"))
        return str(answer or "unheard")

    def _patiently(self, act: Callable[..., T], *arguments: Any) -> T | None:
        """Repeated while a store is away; not for ever when shutting down.

        No beats meanwhile: after the last word, the token is no longer current. Should that never
        get through, the lease runs out and another worker comes to the same end.

        Returns:
            What it returned; None: nothing in time.
        """
        future = self.transfers.submit(act, *arguments)
        patience = self.shop.settings.lease_seconds
        deadline = time.monotonic() + patience
        while not wait([future], timeout=WAIT_SECONDS).done:
            if time.monotonic() > deadline:
                log.error("last_word_unheard", task=str(self.claim.ref), seconds=patience)
                return None
        return future.result()

    def _with_log(self, failure: JobFailure) -> JobFailure:
        """The failure with the child's log beside it, if it can be stored in time."""
        path = self.folder / LOG_FILE
        if not path.exists() or path.stat().st_size == 0:
            return failure
        key = f"{self.claim.prefix}{LOG_FILE}"
        upload = self.transfers.upload(path, key, content_type="text/plain; charset=utf-8")
        wait([upload], timeout=self.shop.settings.beat_seconds)
        if not upload.done() or upload.exception() is not None:
            return failure
        return failure.model_copy(update={"log_key": key})


def _ran_out_of_memory(child: ChildProcess, kills_before: int | None) -> bool:
    """Killed by the kernel for want of memory, or by an unknown hand where it keeps no count."""
    if not child.was_killed_by_others:
        return False
    return kills_before is None or oom_kills() != kills_before


def _crash(child: ChildProcess) -> JobFailure:
    return JobFailure(
        code="worker_crashed",
        detail=f"The process doing the work {child.describe_end()}.",
        hint="It is tried again from the last checkpoint; the log tells more.",
    )
