"""The training loop: plan the steps, run them, tell the hooks, hand over checkpoints."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from osmis_core.data.pair import Pair
from osmis_core.errors import CheckpointError, TrainingError
from osmis_core.training.checkpoint import Checkpoint, load_optimiser, optimiser_tensors
from osmis_core.training.config import TrainingConfig
from osmis_core.training.hooks import Progress, TrainerHooks
from osmis_core.training.step import Optimisation, StepLosses
from osmis_core.training.threads import ThreadChoice

CALIBRATION_STEPS = 24
RECENT_STEPS = 10
REPLAN_STEPS = 50
OVERRUN = 1.25
"""A training stops at this multiple of its time budget, should the machine have slowed down."""
FINITE_CHECK_STEPS = 50


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a training runs; nothing here changes what it computes.

    Attributes:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; None tries all and one, and keeps the faster. Only a fixed number
            gives the same bytes in every run.
        progress_seconds: between calls of ``on_progress``.
        checkpoint_seconds: between calls of ``save_checkpoint``.
    """

    device: str = "auto"
    threads: int | None = None
    progress_seconds: float = 0.5
    checkpoint_seconds: float = 25.0


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a training ended.

    Attributes:
        step: steps done.
        config: with its planned steps.
        stopped_because: ``completed``, ``asked`` or ``time_budget``.
        seconds: training time, earlier runs of a resumed training included.
    """

    step: int
    config: TrainingConfig
    stopped_because: str
    seconds: float


def choose_device(name: str) -> torch.device:
    """The device to compute on."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def train(
    pair: Pair,
    config: TrainingConfig,
    hooks: TrainerHooks,
    *,
    resume: Path | None = None,
    options: RunOptions | None = None,
) -> TrainResult:
    """Trains on one pair until the planned step, a stop, or well past the time budget.

    Args:
        pair: the source.
        config: what to train; ``config_from_plan`` makes one.
        hooks: told of progress, asked whether to stop, handed checkpoints.
        resume: a checkpoint to go on from; its own config and planned steps hold.
        options: how to run.

    Raises:
        CheckpointError: ``resume`` is damaged, newer, or of another pair's shape.
        TrainingError: a loss is no longer finite.
    """
    return _Run(pair, config, hooks, options or RunOptions(), resume).until_done()


class _Run:
    """One run of the loop: the clock, the state, and what is told to the hooks."""

    def __init__(
        self,
        pair: Pair,
        config: TrainingConfig,
        hooks: TrainerHooks,
        options: RunOptions,
        resume: Path | None,
    ) -> None:
        self.hooks, self.options = hooks, options
        device = choose_device(options.device)
        self.step, self.seconds_before = 0, 0.0
        checkpoint = Checkpoint.read(resume) if resume else None
        self.config = checkpoint.config if checkpoint else config
        self.optimisation = Optimisation(pair, self.config, device)
        if checkpoint:
            self._restore(checkpoint)
        self.started = self.reported = self.saved = time.monotonic()
        self.step_seconds: deque[float] = deque(maxlen=50)
        self.threads = ThreadChoice(options.threads, on_cpu=device.type == "cpu")
        self.began_at_step = self.reported_step = self.step

    def until_done(self) -> TrainResult:
        reason, losses = "completed", None
        while self.config.steps is None or self.step < self.config.steps:
            began = time.monotonic()
            losses = self.optimisation.run(self.step)
            self.step += 1
            self.step_seconds.append(time.monotonic() - began)
            self.threads.after_step(self.step_seconds[-1])
            self._plan_steps()
            if self.step % FINITE_CHECK_STEPS == 0:
                _check_finite(losses, self.step)
            self._tell(losses)
            if self.hooks.should_stop():
                reason = "asked"
                break
            if self._is_over_budget():
                reason = "time_budget"
                break
        if self.config.steps is None:  # stopped before there was a plan
            self.config = replace(self.config, steps=self.step)
        if losses is not None:
            _check_finite(losses, self.step)
            if self.reported_step != self.step:
                self._report(losses)
        self.hooks.save_checkpoint(self._checkpoint(reason))
        return TrainResult(
            step=self.step, config=self.config, stopped_because=reason, seconds=self._seconds()
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _is_over_budget(self) -> bool:
        budget = self.config.budget_seconds
        return budget is not None and self._seconds() > OVERRUN * budget

    def _plan_steps(self) -> None:
        """Turns the time budget into steps, once the speed is known.

        The plan follows the machine's speed until the mask phase ends, since the first steps
        may have met a busy machine; from then on it stands.
        """
        budget, planned = self.config.budget_seconds, self.config.steps
        if budget is None or not self._is_time_to_plan():
            return
        if planned is not None and (
            self.step >= self.config.mask_sampling_steps
            or self._seconds() >= self.config.mask_sampling_share * budget
        ):
            return
        timed = list(self.step_seconds)
        typical = statistics.median(timed[-RECENT_STEPS:] if planned is None else timed)
        steps = self.step + max(1, int((budget - self._seconds()) / typical))
        if planned is not None and self.config.mask_sampling_share * steps <= self.step:
            return  # a slow moment must not end the mask phase
        self.config = replace(self.config, steps=steps)
        self.optimisation.config = self.config

    def _is_time_to_plan(self) -> bool:
        if self.config.steps is None:
            return self.threads.settled and self.step - self.began_at_step >= CALIBRATION_STEPS
        return self.step % REPLAN_STEPS == 0 and len(self.step_seconds) >= REPLAN_STEPS

    def _tell(self, losses: StepLosses) -> None:
        now = time.monotonic()
        if now - self.reported >= self.options.progress_seconds:
            self.reported = now
            self._report(losses)
        is_last = self.step == self.config.steps  # the end saves its own
        if now - self.saved >= self.options.checkpoint_seconds and not is_last:
            _check_finite(losses, self.step)
            self.hooks.save_checkpoint(self._checkpoint(None))
            self.saved = time.monotonic()

    def _report(self, losses: StepLosses) -> None:
        self.reported_step = self.step
        speed = len(self.step_seconds) / max(sum(self.step_seconds), 1e-9)
        total = self.config.steps or 0
        self.hooks.on_progress(
            Progress(
                step=self.step,
                total=total,
                steps_per_second=speed,
                eta_seconds=(total - self.step) / speed if total else None,
                losses=losses.to_floats(),
            )
        )

    def _checkpoint(self, stopped_because: str | None) -> Checkpoint:
        nets = self.optimisation.networks
        modules = {
            "generator": nets.generator,
            "average": nets.average,
            "discriminator": nets.discriminator,
        }
        tensors = {
            f"{prefix}.{name}": value
            for prefix, module in modules.items()
            for name, value in module.state_dict().items()
        }
        tensors |= optimiser_tensors(nets.adam_generator, "adam_generator")
        tensors |= optimiser_tensors(nets.adam_discriminator, "adam_discriminator")
        extra = {
            "seconds": self._seconds(),
            "stopped_because": stopped_because,
            "threads": torch.get_num_threads(),
        }
        return Checkpoint(step=self.step, config=self.config, tensors=tensors, extra=extra)

    def _restore(self, checkpoint: Checkpoint) -> None:
        nets = self.optimisation.networks
        try:
            nets.generator.load_state_dict(checkpoint.part("generator"))
            nets.average.load_state_dict(checkpoint.part("average"))
            nets.discriminator.load_state_dict(checkpoint.part("discriminator"))
            load_optimiser(nets.adam_generator, checkpoint.part("adam_generator"))
            load_optimiser(nets.adam_discriminator, checkpoint.part("adam_discriminator"))
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                "the checkpoint does not fit this pair",
                hint="Resume with the pair that the checkpoint was trained on.",
            ) from error
        self.step = checkpoint.step
        self.seconds_before = float(checkpoint.extra["seconds"])


def _check_finite(losses: StepLosses, step: int) -> None:
    values = losses.to_floats()
    if not all(torch.isfinite(torch.tensor(v)) for v in values.values()):
        raise TrainingError(
            f"a loss is no longer finite at step {step}: {values}",
            hint="Try another seed; if it happens again, please report the pair.",
            code="diverged",
        )
