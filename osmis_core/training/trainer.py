"""The training loop: run the planned steps, keep them sound, tell the hooks."""

from __future__ import annotations

import gc
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from osmis_core.data.pair import Pair
from osmis_core.training.best import BestKept
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.collapse import CollapseWatch, conclude
from osmis_core.training.config import TrainingConfig
from osmis_core.training.fast_paths import FastPaths
from osmis_core.training.health import Guard, Rollback
from osmis_core.training.hooks import Progress, TrainerHooks, TrainingWarning
from osmis_core.training.look import Look, Onlooker
from osmis_core.training.planning import Clock, StepPlanner, is_too_fine
from osmis_core.training.real_pairs import source_tensors
from osmis_core.training.state import load_state, state_tensors
from osmis_core.training.step import Optimisation, StepLosses
from osmis_core.training.threads import ThreadChoice


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a training runs; nothing here changes what it computes.

    Attributes:
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; None tries all and one, and keeps the faster. Only a fixed number
            gives the same bytes in every run.
        fast: which of the faster ways are taken; those that suit the device if None.
        cuda_graphs: whether a GPU replays the step as a graph; goes with no ``fast``.
        progress_seconds: between calls of ``on_progress``.
        checkpoint_seconds: between calls of ``save_checkpoint``.
    """

    device: str = "auto"
    threads: int | None = None
    fast: FastPaths | None = None
    cuda_graphs: bool = True
    progress_seconds: float = 0.5
    checkpoint_seconds: float = 25.0


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a training ended.

    Attributes:
        step: steps done.
        config: with its planned steps; None if it was asked to stop before there was a plan.
        stopped_because: ``completed``, ``asked`` or ``time_budget``.
        seconds: training time, earlier runs of a resumed training included.
        finding: what is wrong with the samples; None: nothing. A training that was asked to stop
            may go on and recover; as it stands it is of no use.
        earlier_state: that sets are made of a state before the last, if so.
    """

    step: int
    config: TrainingConfig
    stopped_because: str
    seconds: float
    finding: str | None = None
    earlier_state: TrainingWarning | None = None

    def conclude(self, hooks: TrainerHooks) -> None:
        """For who will not go on with a training that was asked to stop; others have concluded.

        After too few steps to be judged, a finding is a warning: ``undertrained``. Another one
        says that sets are made of an earlier state: ``earlier_state``.

        Raises:
            TrainingError: ``collapsed``.
        """
        if self.stopped_because != "asked":
            return
        if self.finding is not None:
            conclude(self.finding, self.config, self.step, hooks)
        if self.earlier_state is not None:
            hooks.on_warning(self.earlier_state)


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
        hooks: told of progress and warnings, asked whether to stop, handed checkpoints.
        resume: a checkpoint to go on from; its own config and planned steps hold.
        options: how to run.

    Raises:
        CheckpointError: ``resume`` is damaged, of another version, or of another pair's shape.
        TrainingError: ``diverged``, numbers that are not finite came back after every rollback;
            ``collapsed``, it makes nothing of use.
    """
    run = _Run(pair, config, hooks, options or RunOptions(), resume)
    result = run.until_done()
    if result is None:
        clock, config = run.clock, run.coarser_config()
        del run  # and its networks, which it shares a cycle with
        gc.collect()
        run = _Run(pair, config, hooks, options or RunOptions(), None, clock)
        result = run.until_done()
    assert result is not None, "there is one coarser size"
    return result


class _Run:
    """One run of the loop: the state, and what is told to the hooks."""

    def __init__(
        self,
        pair: Pair,
        config: TrainingConfig,
        hooks: TrainerHooks,
        options: RunOptions,
        resume: Path | None,
        clock: Clock | None = None,
    ) -> None:
        self.hooks, self.options = hooks, options
        device = choose_device(options.device)
        checkpoint = Checkpoint.read(resume) if resume else None
        if checkpoint:
            checkpoint.refuse_other_pair(config)
        self.config = checkpoint.config if checkpoint else config
        self.step = checkpoint.step if checkpoint else 0
        extra: dict[str, Any] = checkpoint.extra if checkpoint else {}
        self.optimisation = Optimisation(
            pair, self.config, device, options.fast, cuda_graphs=options.cuda_graphs
        )
        if checkpoint:
            load_state(self.optimisation.networks, checkpoint.tensors)
        self.guard = Guard(
            self.optimisation.networks,
            self.config,
            self.step,
            [Rollback(**values) for values in extra.get("rollbacks", [])],
        )
        self.collapse = CollapseWatch(
            source_tensors(pair, self.config.size), extra.get("bad_checks", 0)
        )
        self.best = BestKept(
            [Look(**values) for values in extra.get("looks", [])],
            checkpoint.part("best") if checkpoint else None,
        )
        self.onlooker: Onlooker | None = None
        self.threads = ThreadChoice(options.threads, on_cpu=device.type == "cpu")
        before = (clock.seconds, clock.warm_up_seconds) if clock else _seconds_of(extra)
        self.clock = Clock(*before)
        self.planner = StepPlanner(self.clock)
        self.reported = self.saved = time.monotonic()
        self.reported_step = self.step
        self.has_checkpoint = checkpoint is not None

    def until_done(self) -> TrainResult | None:
        """Runs to the end; None where it's to be run at the coarser size instead."""
        for rollback in self.guard.rollbacks:
            self.hooks.on_warning(rollback.warning())
        reason, losses = self._why_over(), None
        while reason is None:
            losses = self._advance()
            if is_too_fine(self.config):
                return None
            is_asked = self.hooks.should_stop()
            reason = self._why_over() or ("asked" if is_asked else None)
            saves = self._is_time_to_save()
            is_seen = saves or reason is not None or self._is_looked_at()
            if not self.guard.is_sound(losses, self.step, surely=is_seen):
                self._go_back()
                reason = None
                continue
            self._tell(losses)
            self._look()
            if reason is None:
                self.collapse.check(self.optimisation.networks.average, self.config, self.step)
                if saves:
                    self._save(None)
        return self._end(reason, losses)

    def coarser_config(self) -> TrainingConfig:
        """To start over with; tells why."""
        size, coarser = self.config.size, self.config.coarser
        assert coarser is not None
        self.hooks.on_warning(
            TrainingWarning(
                code="coarser_size",
                detail=f"This machine makes {self.config.steps} steps in the time given at "
                f"{size.train_w}×{size.train_h} px, too few for small objects; training at "
                f"{coarser.train_w}×{coarser.train_h} px.",
                hint="Give it more time (max_runtime_seconds) for more detail.",
            )
        )
        return replace(self.config, size=coarser, coarser=None, steps=None)

    def _is_time_to_save(self) -> bool:
        """Not before it's certain which size is trained at: checkpoints of both would mix."""
        if self.config.coarser is not None:
            return False
        return time.monotonic() - self.saved >= self.options.checkpoint_seconds

    def _is_looked_at(self) -> bool:
        watched = (self.collapse, self.best)
        return any(watcher.is_time(self.config, self.step) for watcher in watched)

    def _look(self) -> None:
        """At the samples, where it's time to; what no longer improves is given fewer steps."""
        config = self.config
        if not self.best.is_time(config, self.step):
            return
        self.onlooker = self.onlooker or self.optimisation.onlooker()
        if self.onlooker is None:
            return
        average = self.optimisation.networks.average
        self.best.add(self.onlooker.look(average, self.step), average)
        self.config = self.best.shortened(config, self.step)
        self.optimisation.config = self.config
        if config.steps is not None and self.config != config:
            self.hooks.on_warning(self.best.plateau_warning(config.steps, self.config))

    def _advance(self) -> StepLosses:
        began = time.monotonic()
        losses = self.optimisation.run(self.step)
        self.step += 1
        seconds = time.monotonic() - began
        self.threads.after_step(seconds)
        self.config = self.planner.after_step(
            self.config, self.step, seconds, settled=self.threads.settled
        )
        if self.config.steps is not None and not is_too_fine(self.config):
            self.config = replace(self.config, coarser=None)
        self.optimisation.config = self.config
        return losses

    def _why_over(self) -> str | None:
        if self.config.steps is not None and self.step >= self.config.steps:
            return "completed"
        return "time_budget" if self.planner.is_over_budget(self.config) else None

    def _go_back(self) -> None:
        """Returns to a sound state, and hands it over: nobody shall resume from what led here.

        Where no checkpoint led here, one of no steps would be of no use.
        """
        rollback = self.guard.go_back(self.step)
        self.step = rollback.back_to
        self.collapse.bad_checks = 0
        self.best.forget_after(self.step)
        self.hooks.on_warning(rollback.warning())
        if self.step > 0 or self.has_checkpoint:
            self._save(None)

    def _end(self, reason: str, losses: StepLosses | None) -> TrainResult:
        if losses is not None and self.reported_step != self.step:
            self._report(losses)
        if reason == "time_budget" and self.config.steps is None:
            self.config = replace(self.config, steps=self.step)  # there was no time for a plan
        shown = self.best.for_samples(self.optimisation.networks.average)
        finding, earlier_state = self.collapse.find(shown, self.config), self.best.earlier_state()
        if finding is not None and reason != "asked":
            conclude(finding, self.config, self.step, self.hooks)
        if earlier_state is not None and reason != "asked":
            self.hooks.on_warning(earlier_state)
        self._save(reason)
        return TrainResult(
            step=self.step,
            config=self.config,
            stopped_because=reason,
            seconds=self.clock.seconds,
            finding=finding,
            earlier_state=earlier_state,
        )

    def _tell(self, losses: StepLosses) -> None:
        now = time.monotonic()
        if now - self.reported >= self.options.progress_seconds:
            self.reported = now
            self._report(losses)

    def _report(self, losses: StepLosses) -> None:
        self.reported_step = self.step
        speed = self.planner.steps_per_second
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

    def _save(self, stopped_because: str | None) -> None:
        extra = {
            "seconds": self.clock.seconds,
            "warm_up_seconds": self.clock.warm_up_seconds,
            "stopped_because": stopped_because,
            "threads": torch.get_num_threads(),
            "rollbacks": [asdict(rollback) for rollback in self.guard.rollbacks],
            "bad_checks": self.collapse.bad_checks,
            "looks": [asdict(look) for look in self.best.looks],
            "samples_from_step": self.best.samples_from_step,
        }
        tensors = state_tensors(self.optimisation.networks)
        tensors |= {f"best.{name}": value for name, value in self.best.tensors.items()}
        checkpoint = Checkpoint(step=self.step, config=self.config, tensors=tensors, extra=extra)
        self.hooks.save_checkpoint(checkpoint)
        self.has_checkpoint = True
        self.saved = time.monotonic()


def _seconds_of(extra: dict[str, Any]) -> tuple[float, float]:
    """Of a checkpoint's training: all, and those of its warm-ups."""
    return extra.get("seconds", 0.0), extra.get("warm_up_seconds", 0.0)
