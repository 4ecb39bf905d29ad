"""The lease as its holder sees it: beats, flags, and what the next beat shall carry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from jobs.errors import StoreAway, StoreFull
from jobs.record import JobWarning, Phase, Progress
from jobs.state import BeatReport, Claim, TaskStore

log = structlog.get_logger(__name__)

PROGRESS_SECONDS = 0.8
"""Less than a second, so that a second never passes in silence: ticks come every 0.2 s."""


class LeaseLostError(Exception):
    """The token is old: another attempt owns the task, or the task is gone. Write nothing more."""


class Lease:
    """Keeps one claim alive; used by the supervisor's thread alone.

    Progress is published every second, whether there is news or not: loading networks and
    compiling take seconds without any, and a client shall see that the task lives. While Valkey is
    away the work goes on, and what there is to say waits; the first beat after that decides whether
    the lease was kept.

    Args:
        store: where it is kept.
        claim: what it is of.
        beat_seconds: at most between two beats.
        on_phase: called with every phase that is reported.

    Attributes:
        cancel: the user wants the task to end.
        finish: the user wants training to end and keep what is learned.
    """

    def __init__(
        self,
        store: TaskStore,
        claim: Claim,
        *,
        beat_seconds: float,
        on_phase: Callable[[Phase], None] | None = None,
    ) -> None:
        self.claim = claim
        self.cancel = claim.task.cancel_requested
        self.finish = claim.job.finish_requested
        self._store = store
        self._beat_seconds = beat_seconds
        self._on_phase = on_phase
        self._unsaid = BeatReport()
        self._shown: Progress | None = None
        self._shown_at = 0.0
        self._last_beat = time.monotonic()

    def report(
        self,
        *,
        phase: Phase | None = None,
        progress: Progress | None = None,
        preview_key: str | None = None,
        effective_config: dict[str, Any] | None = None,
    ) -> None:
        """Notes what the next beat shall say; newer replaces older, but no phase is passed over.

        Raises:
            LeaseLostError: a phase ended before it was told, and telling it was refused.
        """
        if phase is not None and self._on_phase is not None:
            self._on_phase(phase)
        if phase is not None and self._unsaid.phase not in (None, phase):
            self.tick(now=True)
        news: dict[str, Any] = {
            "phase": phase,
            "progress": progress,
            "preview_key": preview_key,
            "effective_config": effective_config,
        }
        self._unsaid = replace(self._unsaid, **{k: v for k, v in news.items() if v is not None})
        if phase is not None or progress is not None:
            self._shown, self._shown_at = progress, time.monotonic()

    def warn(self, warning: JobWarning) -> None:
        """Adds a warning to the task."""
        self._unsaid = replace(self._unsaid, warnings=(*self._unsaid.warnings, warning))

    def tick(self, *, now: bool = False) -> None:
        """Beats when it is time to.

        Args:
            now: beat whether it is time or not.

        Raises:
            LeaseLostError: the claim is no longer ours.
        """
        since = time.monotonic() - self._last_beat
        has_news = self._shown is not None or self._unsaid != BeatReport()
        due = min(PROGRESS_SECONDS, self._beat_seconds) if has_news else self._beat_seconds
        if not now and since < due:
            return
        self._last_beat = time.monotonic()
        if self._unsaid.progress is None:
            self._unsaid = replace(self._unsaid, progress=self._last_progress())
        try:
            answer = self._store.beat(self.claim, self._unsaid)
        except (StoreAway, StoreFull) as error:
            log.warning("beat_failed", task=str(self.claim.ref), reason=str(error))
            return
        if answer.refused:
            raise LeaseLostError(f"{self.claim.ref}: token {self.claim.token} is not current")
        self._unsaid = BeatReport()
        self.cancel = self.cancel or answer.cancel
        self.finish = self.finish or answer.finish

    def _last_progress(self) -> Progress | None:
        """What was last reported, with the time that has passed since taken off the time left."""
        if self._shown is None or self._shown.eta_seconds is None:
            return self._shown
        passed = time.monotonic() - self._shown_at
        left = max(0.0, self._shown.eta_seconds - passed)
        return self._shown.model_copy(update={"eta_seconds": left})
