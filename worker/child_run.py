"""One child from start to end, with the lease kept alive meanwhile."""

from __future__ import annotations

import threading
import time

import structlog

from jobs.record import JobFailure
from worker.child_process import ChildProcess
from worker.courier import Courier
from worker.endings import CancelRequestedError, ChildCrashedError
from worker.hang_watch import HangWatch
from worker.lease import Lease
from worker.metrics import WorkerMetrics
from worker.protocol import (
    CheckpointReport,
    ConfigReport,
    Ending,
    EngineReport,
    Order,
    PreviewReport,
    ProgressReport,
    Report,
    SampledReport,
    WarningReport,
)

log = structlog.get_logger(__name__)

LISTEN_SECONDS = 0.2


class ChildRun:
    """Listens to a child, beats, passes orders on, and watches for a hang.

    Args:
        child: just started.
        lease: the claim it works under.
        courier: gets its checkpoints and previews.
        hang_watch: judges its silence.
        metrics: are told where it is.
        stopping: set when the worker shuts down.
        stop_seconds: how long the child may take to stop when told to.
    """

    def __init__(
        self,
        child: ChildProcess,
        lease: Lease,
        courier: Courier,
        *,
        hang_watch: HangWatch,
        metrics: WorkerMetrics,
        stopping: threading.Event,
        stop_seconds: float,
    ) -> None:
        self._child = child
        self._lease = lease
        self._courier = courier
        self._hang_watch = hang_watch
        self._metrics = metrics
        self._stopping = stopping
        self._stop_seconds = stop_seconds
        self._ordered: set[Order] = set()
        self._stop_before: float | None = None
        self._ending: Ending | None = None

    def run(self) -> Ending | None:
        """Until the child has exited; it is killed if we leave for another reason.

        Returns:
            What it said last, or None: it died without a word.

        Raises:
            LeaseLostError: the claim is lost.
            CancelRequestedError: the user has cancelled.
            ChildCrashedError: it hung.
        """
        try:
            while not self._child.has_ended():
                report = self._child.next_report(LISTEN_SECONDS)
                if report is not None:
                    self._hear(report)
                self._courier.tick()
                self._lease.tick()
                self._relay()
        except BaseException:
            self._child.kill()
            raise
        status = self._child.close()
        if status != 0:
            log.warning("child_exit", pid=self._child.pid, status=status)
        return self._ending if status == 0 else None

    def _hear(self, report: Report) -> None:
        match report:
            case EngineReport():
                self._courier.engine = report.engine
            case ConfigReport():
                self._lease.report(effective_config=report.effective_config)
            case ProgressReport():
                self._hang_watch.moved(report.phase, report.progress)
                self._lease.report(phase=report.phase, progress=report.progress)
                self._metrics.progress(report.phase, report.progress, report.gpu_bytes)
            case WarningReport():
                self._lease.warn(report.warning)
            case CheckpointReport():
                self._courier.take_checkpoint(report)
            case PreviewReport():
                self._courier.take_preview(report)
            case SampledReport():
                self._ending = report
                self._metrics.sampled(report)
            case _:
                self._ending = report

    def _relay(self) -> None:
        if self._lease.cancel:
            raise CancelRequestedError
        if self._lease.finish and self._courier.published is not None:
            self._order(Order.FINISH)
        if self._stopping.is_set():
            self._order(Order.STOP)
            if self._stop_before is None:
                self._stop_before = time.monotonic() + self._stop_seconds
            elif time.monotonic() > self._stop_before and not self._child.has_ended():
                log.warning("child_does_not_stop", pid=self._child.pid)
                self._child.kill()
        elif self._hang_watch.is_hung():
            silent = self._hang_watch.silent_seconds()
            raise ChildCrashedError(
                JobFailure(
                    code="worker_hung",
                    detail=f"No progress for {silent:.0f} s.",
                    hint="See the log; a hung driver needs a restart of the machine.",
                )
            )

    def _order(self, order: Order) -> None:
        if order not in self._ordered:
            self._ordered.add(order)
            self._child.order(order)
