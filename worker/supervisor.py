"""The worker's one long-lived thread: claims tasks and sees each of them through."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future, wait
from dataclasses import dataclass

import structlog

from jobs.errors import JobsError, RecordTooNew, StoreAway, StoreFull, is_out_of_room
from jobs.files import free_bytes
from jobs.record import RECORD_SCHEMA, JobFailure, Kind, TaskRef
from jobs.state import Answer, Claim
from worker.endings import DISK_FULL, WORKER_FAULT
from worker.job_attempt import JobAttempt, SetAttempt
from worker.workshop import Workshop

log = structlog.get_logger(__name__)

IDLE_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
LEAST_FREE_BYTES = 500_000_000
"""Below that it is the worker's disk that is full, rather than a task that is too large for it."""
UNFIT_HINT = "It has failed by a fault of its own: look at its disk, and at the lines above."


@dataclass(frozen=True)
class _Ring:
    """Somebody rang for a task."""

    ref: TaskRef
    done: Future[None]


class Supervisor:
    """Runs attempts one after the other, each child started from the same thread.

    That thread lives as long as the worker, for the kernel ties a child's life to it.

    A worker that fails by a fault of its own (its disk is full, an error in its code) pauses before
    it claims again, longer each time: its strikes are the task's, and without pauses one broken
    worker would fail the whole line while others could do the work.

    Args:
        shop: what attempts share.
    """

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._faults = 0
        self._rings: queue.SimpleQueue[_Ring | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Asks for the end: the running child checkpoints, its task is released."""
        self._stopping.set()
        self._rings.put(None)

    def join(self, timeout_seconds: float) -> None:
        """Waits for the end."""
        self._thread.join(timeout_seconds)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def run(self, ref: TaskRef) -> None:
        """Works on a task if it is to be had, and then on what else is due; returns after it."""
        ring = _Ring(ref, Future())
        self._rings.put(ring)
        while not wait([ring.done], timeout=IDLE_SECONDS).done:
            if not self.is_alive:  # it was stopped before it came to this ring
                return

    def _run(self) -> None:
        while not self._stopping.is_set():
            ring = self._rings.get()
            if ring is None:
                continue
            try:
                self._work_from(ring.ref)
            finally:
                ring.done.set_result(None)

    def _work_from(self, ref: TaskRef) -> None:
        """The task itself, then the heads of its queue: a message may have been lost."""
        claim = self._claim(ref.kind, ref)
        if claim is None:
            claim = self._claim(ref.kind, None)
        while claim is not None:
            self._faults = 0 if self._attempt(claim) else self._faults + 1
            self._pause()
            claim = None if self._stopping.is_set() else self._claim(ref.kind, None)

    def _claim(self, kind: Kind, ref: TaskRef | None) -> Claim | None:
        try:
            found = self._shop.store.try_claim(kind, ref)
        except (StoreAway, StoreFull) as error:
            # Whoever reaps next rings again.
            log.warning("claim_failed", kind=str(kind), reason=str(error))
            time.sleep(IDLE_SECONDS)
            return None
        if found.answer is Answer.NEWER:
            log.error(
                "task_too_new",
                task=str(found.ref),
                known_schema=RECORD_SCHEMA,
                hint=RecordTooNew.hint,
            )
        return found.claim

    def _attempt(self, claim: Claim) -> bool:
        """Works on it; False: this worker was not fit to."""
        make = JobAttempt if claim.sample_set is None else SetAttempt
        try:
            attempt = make(self._shop, claim, self._stopping)
            attempt.run()
        except Exception as error:
            log.exception("attempt_broke", task=str(claim.ref))
            self._shop.metrics.attempt_ended(claim.ref.kind, "broke")
            is_full = is_out_of_room(error)
            self._strike(claim, DISK_FULL if is_full else WORKER_FAULT)
            return is_full and self._has_room()
        else:
            return not attempt.met_full_disk or self._has_room()

    def _has_room(self) -> bool:
        """Whether it was one task that was too large for this worker's disk."""
        return free_bytes(self._shop.folder) >= LEAST_FREE_BYTES

    def _pause(self) -> None:
        if self._faults == 0:
            return
        doubled = 2 ** min(self._faults - 1, 10)
        seconds = min(FIRST_PAUSE_SECONDS * doubled, LONGEST_PAUSE_SECONDS)
        log.error("worker_pauses", seconds=seconds, faults=self._faults, hint=UNFIT_HINT)
        self._stopping.wait(seconds)

    def _strike(self, claim: Claim, failure: JobFailure) -> None:
        try:
            self._shop.store.strike(claim, failure)
        except JobsError as error:
            log.warning("strike_failed", task=str(claim.ref), reason=str(error))
