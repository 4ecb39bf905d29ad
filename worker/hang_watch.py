"""Notices a child that is alive but gets nowhere."""

from __future__ import annotations

import statistics
import time
from collections import deque

from jobs.record import Progress
from jobs.settings import Settings

STEPS_REMEMBERED = 50


class HangWatch:
    """Measures how long the last step took to come, against what steps usually take.

    The limit is ``hang_first_step_seconds`` before the first step (compilation, first use of a
    driver), and then the larger of ``hang_min_seconds`` and ``hang_step_factor`` × the median
    step.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last_move = time.monotonic()
        self._last: tuple[str, int] | None = None
        self._step_seconds: deque[float] = deque(maxlen=STEPS_REMEMBERED)

    def moved(self, phase: str, progress: Progress) -> None:
        """The child reported where it is; only a change counts as life."""
        place = (phase, progress.step)
        if place == self._last:
            return
        now = time.monotonic()
        if self._last is not None and self._last[0] == phase and progress.step > self._last[1]:
            steps = progress.step - self._last[1]
            self._step_seconds.append((now - self._last_move) / steps)
        self._last, self._last_move = place, now

    @property
    def limit_seconds(self) -> float:
        """How long silence is still patience."""
        if not self._step_seconds:
            return self._settings.hang_first_step_seconds
        median = statistics.median(self._step_seconds)
        return max(self._settings.hang_min_seconds, self._settings.hang_step_factor * median)

    def silent_seconds(self) -> float:
        """Since the child last moved."""
        return time.monotonic() - self._last_move

    def is_hung(self) -> bool:
        """Whether the limit is exceeded."""
        return self.silent_seconds() > self.limit_seconds
