"""From a time budget to planned steps: the clock, and the plan that follows the machine's speed."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from dataclasses import replace

from osmis_core.training.config import TrainingConfig
from osmis_core.training.real_pairs import FRESH_EVERY_STEPS

CALIBRATION_STEPS = 24
CALIBRATION_SHARE = 0.25
"""Of the budget: where steps are slow, the plan is made from as many as fit in here."""
RECENT_STEPS = 20
BLOCK_STEPS = FRESH_EVERY_STEPS
"""Timed together: each of so many steps in a row is the one that draws new views."""
REPLAN_STEPS = 50
FINER_WORTH_STEPS = 1500
"""With fewer planned steps a size that was raised for small objects is not worth it (ADR 9)."""
OVERRUN = 1.25
"""A training stops at this multiple of its time budget, should the machine have slowed down."""
LATE = 1.1
"""A plan that would take this many times what is left of the budget is shortened."""
LATE_FROM_SHARE = 0.2
"""Of the budget, spent in one run, before its speed can shorten a plan."""


class Clock:
    """How long a training takes, over all its runs.

    The first step of every run is warm-up: it loads, compiles and fills the pool of views, and
    says nothing of the speed. It's training time, but it's not taken off the budget; else a slow
    start would leave a plan of no steps.

    Args:
        seconds: of earlier runs.
        warm_up_seconds: of them, warm-up.
    """

    def __init__(self, seconds: float = 0.0, warm_up_seconds: float = 0.0) -> None:
        self.warm_up_seconds = warm_up_seconds
        self._before = seconds
        self._started = time.monotonic()

    def end_warm_up(self) -> None:
        """Called after a run's first step."""
        self.warm_up_seconds += time.monotonic() - self._started

    @property
    def seconds(self) -> float:
        """All of it."""
        return self._before + time.monotonic() - self._started

    @property
    def spent_seconds(self) -> float:
        """What counts against the budget."""
        return self.seconds - self.warm_up_seconds


def is_too_fine(config: TrainingConfig) -> bool:
    """Whether the plan leaves too few steps for the size, and there is a coarser one."""
    return (
        config.coarser is not None and config.steps is not None and config.steps < FINER_WORTH_STEPS
    )


class StepPlanner:
    """Turns the time budget into steps, once the speed is known.

    The plan follows the machine's speed until the mask phase ends, since the first steps may have
    met a busy machine; from then on it is only shortened, if it would take longer than the budget,
    and stands once the rates fall: a training that is stopped before has not settled. Speeds are
    medians over blocks of steps of this run, so that single slow steps decide nothing, and a
    resumed run needs as many steps of its own as a new one before it touches the plan. What lies
    between steps (looks, checkpoints, reports) counts as well: next to a GPU's it is not little.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps_run = 0
        self._first_seconds = 0.0
        self._step_seconds: deque[float] = deque(maxlen=REPLAN_STEPS)
        self._all_steps_seconds = 0.0
        self._spent_before = 0.0

    @property
    def steps_per_second(self) -> float:
        """Over the last steps and what lies between; warm-up left out where there are others."""
        timed = self._step_seconds or [self._first_seconds]
        return 1 / max(statistics.mean(timed) + self._between_seconds(), 1e-9)

    def is_over_budget(self, config: TrainingConfig) -> bool:
        """Whether far more than the budget is spent."""
        budget = config.budget_seconds
        return budget is not None and self._clock.spent_seconds > OVERRUN * budget

    def after_step(
        self, config: TrainingConfig, step: int, seconds: float, *, settled: bool
    ) -> TrainingConfig:
        """The plan after one more step of ``seconds``; ``step`` are done in all.

        Args:
            config: with the plan so far.
            step: steps done, earlier runs included.
            seconds: that the last one took.
            settled: whether the number of threads is chosen.
        """
        self._steps_run += 1
        if self._steps_run == 1:
            self._first_seconds = seconds
            self._clock.end_warm_up()
            self._spent_before = self._clock.spent_seconds
        else:
            self._step_seconds.append(seconds)
            self._all_steps_seconds += seconds
        budget, planned = config.budget_seconds, config.steps
        if budget is None:
            return config
        spent = self._clock.spent_seconds
        if planned is None and self._is_calibrated(spent / budget, settled=settled):
            typical = self._typical_seconds(RECENT_STEPS)
            return replace(config, steps=step + max(1, int((budget - spent) / typical)))
        if planned is None or not self._is_time_to_revise(step):
            return config
        if step >= config.mask_sampling_steps or spent >= config.mask_sampling_share * budget:
            return self._shortened(config, planned, step, budget, spent)
        steps = step + max(1, int((budget - spent) / self._typical_seconds(REPLAN_STEPS)))
        if config.mask_sampling_share * steps <= step:
            return config  # a slow moment must not end the mask phase
        return replace(config, steps=steps)

    def _typical_seconds(self, recent: int) -> float:
        """From one step to the next: the median of the last blocks, and what lies between steps."""
        steps = list(self._step_seconds)[-recent:]
        starts = range(len(steps) % BLOCK_STEPS, len(steps), BLOCK_STEPS)
        blocks = [statistics.mean(steps[start : start + BLOCK_STEPS]) for start in starts]
        return statistics.median(blocks or steps) + self._between_seconds()

    @property
    def _run_seconds(self) -> float:
        """Since this run's first step, which is warm-up."""
        return self._clock.spent_seconds - self._spent_before

    def _between_seconds(self) -> float:
        """From a step's end to the next one's beginning, on average."""
        between = max(0.0, self._run_seconds - self._all_steps_seconds)
        return between / max(1, self._steps_run - 1)

    def _shortened(
        self, config: TrainingConfig, planned: int, step: int, budget: float, spent: float
    ) -> TrainingConfig:
        """Where the budget would end first, at the speed of the run and at that of its end."""
        falling_from = 1 - config.rate_decay_share
        if step >= falling_from * planned or self._run_seconds < LATE_FROM_SHARE * budget:
            return config
        # slow steps that are over say as little as those of this moment
        mean_seconds = self._run_seconds / (self._steps_run - 1)
        seconds = min(mean_seconds, self._typical_seconds(REPLAN_STEPS))
        if (planned - step) * seconds <= LATE * (budget - spent):
            return config
        # so much, at least, that the rates fall as long as they should
        steps = max(step + int((budget - spent) / seconds), math.ceil(step / falling_from))
        return replace(config, steps=min(planned, steps))

    def _is_calibrated(self, spent_share: float, *, settled: bool) -> bool:
        enough = settled and self._steps_run >= CALIBRATION_STEPS
        return enough or (self._steps_run > 1 and spent_share >= CALIBRATION_SHARE)

    def _is_time_to_revise(self, step: int) -> bool:
        return step % REPLAN_STEPS == 0 and self._steps_run >= REPLAN_STEPS
