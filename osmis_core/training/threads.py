"""How many CPU threads a training uses: as many as help at the moment.

A step is hundreds of small parallel regions, and each waits for its slowest thread. On an idle
machine two threads are a third faster than one; where another process wants the same cores they
are several times slower than one.
"""

from __future__ import annotations

import statistics

import torch

WARM_UP_STEPS = 3
TRIAL_STEPS = 5
SLOWED_DOWN = 1.7
"""A step this many times slower than the trial's means that somebody else wants the cores."""
WINDOW_STEPS = 20


class ThreadChoice:
    """Tries all threads, then one, and keeps the faster; falls back to one when steps slow down.

    Args:
        fixed: use this many from the start and never change; None chooses.
        on_cpu: nothing is chosen where a GPU does the work.
    """

    def __init__(self, fixed: int | None, *, on_cpu: bool) -> None:
        self._all = torch.get_num_threads() if fixed is None else fixed
        if fixed is not None:
            torch.set_num_threads(fixed)
        self._chosen = not on_cpu or self._all == 1 or fixed is not None
        self._seconds: list[float] = []
        self._typical = float("inf")

    @property
    def settled(self) -> bool:
        """Whether the trial is over."""
        return self._chosen

    def after_step(self, seconds: float) -> None:
        """Told how long each step took."""
        if self._chosen and torch.get_num_threads() == 1:
            return
        self._seconds.append(seconds)
        if not self._chosen:
            self._try(len(self._seconds) - WARM_UP_STEPS)
        elif len(self._seconds) >= WINDOW_STEPS:
            if statistics.median(self._seconds) > SLOWED_DOWN * self._typical:
                torch.set_num_threads(1)
            self._seconds.clear()

    def _try(self, tried: int) -> None:
        if tried == TRIAL_STEPS:
            torch.set_num_threads(1)
        if tried < 2 * TRIAL_STEPS:
            return
        timed = self._seconds[WARM_UP_STEPS:]
        with_all = statistics.median(timed[:TRIAL_STEPS])
        with_one = statistics.median(timed[TRIAL_STEPS:])
        if with_all < with_one:
            torch.set_num_threads(self._all)
        self._typical = min(with_all, with_one)
        self._chosen = True
        self._seconds.clear()
