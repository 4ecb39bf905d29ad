"""One training, kept as it stands after some minutes and after some more.

A training is planned for the last snapshot and runs to its planned end, as a job's does. It stops
at an earlier snapshot's minute and goes on from its checkpoint, and from the newest one after an
interruption. An earlier snapshot is not what a training planned for that time would be: its mask
phase may not even be over.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

from bench.quality.keys import Run, Snapshot
from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingOptions, TrainingPlan, plan_training
from osmis_core.data.presets import Method
from osmis_core.errors import TrainingError
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig, config_from_plan
from osmis_core.training.hooks import Progress, TrainingWarning
from osmis_core.training.trainer import RunOptions, train

THREADS = 1
"""Of training, for all sides: on two cores two trainings run side by side."""
TOLD_SECONDS = 60.0


def plan_of(run: Run, pair: Pair, method: Method) -> TrainingPlan:
    """Both methods train at the standard preset's size: at the paper's, minutes are a few steps."""
    options = TrainingOptions(
        method=method,
        max_runtime_seconds=max(1, round(60 * run.planned)),
        seed=run.seed,
        **dict(run.options),
    )
    return plan_training(pair, options, has_gpu=run.device != "cpu")


def train_snapshots(run: Run, pair: Pair, method: Method) -> None:
    """Trains until every snapshot of the run has its checkpoint; those there are left as they are.

    Raises:
        TrainingError: it came to nothing before there was any checkpoint.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    config = config_from_plan(pair, plan_of(run, pair, method))
    working = run.folder / "working.safetensors"
    for snapshot in run.snapshots:
        if snapshot.checkpoint.exists():
            continue
        until = None if snapshot.is_last else 60 * snapshot.minutes
        notes = _train_to(until, pair, config, working, run.device)
        notes_path(snapshot).write_text(json.dumps(notes, indent=1) + "\n")
        partial = snapshot.checkpoint.with_suffix(".partial")
        shutil.copyfile(working, partial)
        partial.replace(snapshot.checkpoint)


def notes_path(snapshot: Snapshot) -> Path:
    """What is known of the training then: steps, seconds, and what went wrong, if anything."""
    return snapshot.checkpoint.with_suffix(".json")


def _train_to(
    seconds: float | None, pair: Pair, config: TrainingConfig, working: Path, device: str
) -> dict[str, Any]:
    """Trains on until so many seconds are over, all earlier runs included, or to the end."""
    resume = working if working.exists() else None
    done_seconds = _read_notes(working)["seconds"] if resume else 0.0
    left = math.inf if seconds is None else seconds - done_seconds
    hooks = _Hooks(working, left)
    trouble = None
    if left > 0:
        try:
            options = RunOptions(device=device, threads=THREADS)
            ended = train(pair, config, hooks, resume=resume, options=options)
            trouble = ended.finding
        except TrainingError as error:
            if not working.exists():
                raise
            trouble = str(error)
    return {**_read_notes(working), "trouble": trouble}


def _read_notes(checkpoint: Path) -> dict[str, Any]:
    newest = Checkpoint.read(checkpoint, prefixes=())
    return {
        "steps": newest.step,
        "planned_steps": newest.config.steps,
        "train_hw": [newest.config.size.train_h, newest.config.size.train_w],
        "seconds": round(newest.extra["seconds"], 1),
    }


class _Hooks:
    """Keeps the newest checkpoint; stops when the seconds are over, whatever was planned."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._deadline = time.monotonic() + seconds
        self._told = time.monotonic()

    def on_progress(self, progress: Progress) -> None:
        """Prints a line a minute."""
        if time.monotonic() - self._told > TOLD_SECONDS:
            self._told = time.monotonic()
            print(f"  {self._path.parent.name}: {progress.step} of {progress.total}", flush=True)

    def should_stop(self) -> bool:
        """When the snapshot's time has come."""
        return time.monotonic() >= self._deadline

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replaces the one before."""
        checkpoint.write(self._path)

    def on_warning(self, warning: TrainingWarning) -> None:
        """Prints it."""
        print(f"  {self._path.parent.name}: {warning.code}: {warning.detail}", flush=True)
