"""The child's two bodies: training, and making a sample set. Thin shells over the core."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from jobs.record import Engine, JobWarning, Phase
from jobs.record import Progress as PublicProgress
from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingPlan
from osmis_core.data.storage import load_normalised
from osmis_core.metrics import ScoringNetwork, load_scoring_network
from osmis_core.preview import preview_sheet
from osmis_core.sample_set import (
    InterruptedSetError,
    SampleSetRequest,
    make_sample_set,
)
from osmis_core.set_warnings import set_warnings
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import TrainingConfig, config_from_plan
from osmis_core.training.hooks import Progress, TrainingWarning
from osmis_core.training.trainer import RunOptions
from osmis_core.training.trainer import train as train_pair
from worker.child import Supervised
from worker.protocol import (
    Assignment,
    CheckpointReport,
    ConfigReport,
    EngineReport,
    PreviewReport,
    ProgressReport,
    SampledReport,
    StoppedReport,
    TrainedReport,
    WarningReport,
)

ARCHIVE_FILE, ITEMS_FILE, SHEET_FILE = "archive.zip", "items.json", "sheet.jpg"
PROGRESS_SECONDS = 0.3
MIN_BATCH_SIZE = 2
"""Of a smaller attempt: minibatch statistics need two samples."""


class Hooks:
    """The trainer's view of the supervisor."""

    def __init__(self, link: Supervised, pair: Pair, assignment: Assignment) -> None:
        self.last: CheckpointReport | None = None
        self._link = link
        self._pair = pair
        self._folder, self._device = assignment.folder, assignment.device
        self._size = TrainingPlan.from_dict(assignment.plan).size

    def on_progress(self, progress: Progress) -> None:
        """Passes it on; numbers that JSON can't say are left out."""
        losses = {name: loss for name, loss in progress.losses.items() if math.isfinite(loss)}
        public = PublicProgress(
            step=progress.step,
            total=progress.total or None,
            fraction=min(1.0, progress.step / progress.total) if progress.total else 0.0,
            steps_per_second=progress.steps_per_second,
            eta_seconds=progress.eta_seconds,
            losses=losses,
        )
        self._link.say(
            ProgressReport(phase=Phase.TRAINING, progress=public, gpu_bytes=_gpu_bytes())
        )

    def should_stop(self) -> bool:
        """Finishing and stopping both end the loop; what comes after differs."""
        return self._link.is_finishing or self._link.is_stopping

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Leaves it in the folder, and a contact sheet of what it makes."""
        # after a rollback steps come again: what is published under a name never changes
        rollbacks = len(checkpoint.extra.get("rollbacks", []))
        name = f"{checkpoint.step:08d}" + (f"-r{rollbacks}" if rollbacks else "")
        file = f"checkpoint-{name}.safetensors"
        checkpoint.write(self._folder / file)
        self._tell_size(checkpoint.config)
        self.last = CheckpointReport(file=file, step=checkpoint.step)
        self._link.say(self.last)
        if self._link.is_stopping:
            return
        sheet = f"preview-{name}.png"
        drawn = preview_sheet(self._folder / file, self._pair, device=self._device)
        drawn.save(self._folder / sheet)
        self._link.say(PreviewReport(file=sheet))

    def _tell_size(self, config: TrainingConfig) -> None:
        """Once more when it is another than at the start: the machine was too slow for it."""
        if config.size != self._size:
            self._size = config.size
            self._link.say(ConfigReport(effective_config=config.to_dict()))

    def on_warning(self, warning: TrainingWarning) -> None:
        """Into the job's warnings, which keep equal ones once."""
        self._link.say(_public(warning))


def train(assignment: Assignment, link: Supervised) -> None:
    """Trains on the folder's pair until the end, or until told otherwise."""
    pair = load_normalised(assignment.folder)
    link.say(EngineReport(engine=_engine(_scoring(assignment))))
    plan = TrainingPlan.from_dict(assignment.plan)
    config = config_from_plan(pair, plan)
    resume = assignment.folder / assignment.checkpoint if assignment.checkpoint else None
    if assignment.smaller:
        smaller = max(MIN_BATCH_SIZE, config.batch_size // 2)
        config = replace(config, batch_size=smaller)
        resume = resume and _with_batch_size(resume, smaller)
    link.say(ConfigReport(effective_config=config.to_dict()))
    link.say(_training_from(resume, config.steps))
    hooks = Hooks(link, pair, assignment)
    options = RunOptions(
        device=assignment.device,
        cuda_graphs=assignment.cuda_graphs,
        checkpoint_seconds=0.8 * assignment.checkpoint_seconds,
    )
    result = train_pair(pair, config, hooks, resume=resume, options=options)
    if link.is_stopping:
        link.say(StoppedReport())
        return
    result.conclude(hooks)
    assert hooks.last is not None, "the trainer saves a checkpoint at its end"
    link.say(hooks.last.model_copy(update={"final": True}))
    link.say(ConfigReport(effective_config=result.config.to_dict()))
    link.say(
        TrainedReport(
            metrics={
                "training_steps": result.step,
                "training_seconds": round(result.seconds, 1),
                "training_ended": result.stopped_because,
            }
        )
    )


def sample(assignment: Assignment, link: Supervised) -> None:
    """Makes the assigned set from the folder's checkpoint."""
    wanted = assignment.request
    if wanted is None or assignment.checkpoint is None:
        raise ValueError("a set needs its parameters and a checkpoint")
    folder = assignment.folder
    plan = TrainingPlan.from_dict(assignment.plan)
    stages = Stages(link)

    def should_stop() -> bool:
        return link.is_stopping

    try:
        made = make_sample_set(
            load_normalised(folder),
            folder / assignment.checkpoint,
            SampleSetRequest(
                n=wanted.n,
                reject_fraction=wanted.reject_fraction,
                seed=wanted.seed,
                refine=wanted.refine,
                screen=wanted.screen,
                output_h=plan.output_h,
                output_w=plan.output_w,
                inception_weights=assignment.scoring.inception_weights,
                inception_sha256=assignment.scoring.inception_sha256,
                device="cpu" if assignment.smaller else assignment.device,
            ),
            folder / ARCHIVE_FILE,
            on_stage=stages.at,
            should_stop=should_stop,
            provenance=assignment.manifest,
        )
    except InterruptedSetError:
        link.say(StoppedReport())
        return
    (folder / ITEMS_FILE).write_text(json.dumps(made.items))
    (folder / SHEET_FILE).write_bytes(made.summary.preview_jpeg)
    for warning in set_warnings(made.metrics):
        link.say(_public(warning))
    link.say(
        SampledReport(
            archive=ARCHIVE_FILE,
            items=ITEMS_FILE,
            sheet=SHEET_FILE,
            sha256=made.summary.sha256,
            size_bytes=made.summary.size_bytes,
            generated=wanted.n,
            kept=made.summary.kept,
            rejected=made.summary.rejected,
            metrics=made.metrics,
        )
    )


class Stages:
    """A set's stages as progress, at most a few times a second, with the time left in each."""

    def __init__(self, link: Supervised) -> None:
        self._link = link
        self._stage = ""
        self._began = 0.0
        self._told = 0.0

    def at(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` samples have passed ``stage``."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._told = stage, now, 0.0
        if now - self._told < PROGRESS_SECONDS and done < total:
            return
        self._told = now
        speed = done / (now - self._began) if done and now > self._began else None
        progress = PublicProgress(
            step=done,
            total=total,
            fraction=done / total,
            steps_per_second=speed,
            eta_seconds=(total - done) / speed if speed else None,
        )
        self._link.say(
            ProgressReport(phase=Phase(stage), progress=progress, gpu_bytes=_gpu_bytes())
        )


def _public(warning: TrainingWarning) -> WarningReport:
    """As clients see it among the warnings of the job or the set."""
    public = JobWarning(code=warning.code, detail=warning.detail, hint=warning.hint)
    return WarningReport(warning=public)


def _gpu_bytes() -> int:
    """What this process has allocated at most on a GPU."""
    return torch.cuda.max_memory_allocated()  # 0 where there is none


def is_memory_error(error: BaseException) -> bool:
    """Whether there was not enough memory, on the machine or on the GPU.

    What ends a recording for want of memory may hide it behind an error of the recording's own.
    """
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, MemoryError | torch.OutOfMemoryError):
            return True
        if isinstance(current, RuntimeError) and "out of memory" in str(current):
            return True
        current = current.__cause__ or current.__context__
    return False


def _with_batch_size(path: Path, batch_size: int) -> Path:
    """A copy of a checkpoint that goes on with another batch size."""
    checkpoint = Checkpoint.read(path)
    copy = path.with_name(f"smaller-{path.name}")
    replace(checkpoint, config=replace(checkpoint.config, batch_size=batch_size)).write(copy)
    return copy


def _scoring(assignment: Assignment) -> ScoringNetwork:
    scoring = assignment.scoring
    return load_scoring_network(scoring.inception_weights, scoring.inception_sha256)


def _engine(network: ScoringNetwork) -> Engine:
    return Engine(
        core_version=version("onepair"),
        scoring_network=network.name,
        scoring_weights_sha256=network.weights_sha256,
    )


def _training_from(resume: Path | None, planned_steps: int | None) -> ProgressReport:
    """Where training begins: a resumed one doesn't fall back to zero on the user's screen."""
    step, total = 0, planned_steps
    if resume is not None:
        header = Checkpoint.read(resume, prefixes=())
        step, total = header.step, header.config.steps or planned_steps
    fraction = min(1.0, step / total) if total else 0.0
    progress = PublicProgress(step=step, total=total, fraction=fraction)
    return ProgressReport(phase=Phase.TRAINING, progress=progress)
