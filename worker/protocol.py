"""What supervisor and child say to each other.

The supervisor writes an ``Assignment`` to a file and passes its path. The child answers with one
JSON object a line on its standard output; the supervisor says ``finish`` or ``stop`` on the
child's standard input, and the end of that input means that the supervisor is gone. Files travel
by name in the attempt's folder. The child has no access to Valkey or the object store.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from jobs.record import Engine, JobWarning, Phase, Progress, SampleSetRequest, Sha256


class Order(StrEnum):
    """What the supervisor may say while the child works."""

    FINISH = "finish"  # stop training, keep what is learned
    STOP = "stop"  # write a checkpoint and exit: the worker is shutting down


class Message(BaseModel):
    """Base of everything that crosses the pipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Scoring(Message):
    """Weights that score samples, where others than the default are configured."""

    inception_weights: Path | None = None
    inception_sha256: str | None = None


class Assignment(Message):
    """One child's work: train on a pair, or make a sample set from a checkpoint.

    Attributes:
        work: what to do.
        folder: the attempt's folder; everything is read and written there.
        plan: ``TrainingPlan.to_dict()``.
        checkpoint: file to resume from, or to sample from.
        request: the set's parameters, for ``sample``.
        manifest: what the archive's manifest says beyond what the core knows.
        device: ``auto``, ``cpu`` or ``cuda``.
        cuda_graphs: whether a GPU replays training steps as a graph.
        smaller: use less memory than the last attempt, which ran out of it.
        checkpoint_seconds: longest time of training between two checkpoints.
        scoring: which network judges samples.
    """

    work: Literal["train", "sample"]
    folder: Path
    plan: dict[str, Any]
    checkpoint: str | None = None
    request: SampleSetRequest | None = None
    manifest: dict[str, Any] = Field(default_factory=dict)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    cuda_graphs: bool = True
    smaller: bool = False
    checkpoint_seconds: float = Field(default=30.0, gt=0)
    scoring: Scoring = Scoring()


class EngineReport(Message):
    """Who makes and scores samples here; sent before the first checkpoint."""

    type: Literal["engine"] = "engine"
    engine: Engine


class ConfigReport(Message):
    """What the training really uses, defaults filled in."""

    type: Literal["config"] = "config"
    effective_config: dict[str, Any]


class ProgressReport(Message):
    """Where the child is; at least once a second."""

    type: Literal["progress"] = "progress"
    phase: Phase
    progress: Progress
    gpu_bytes: int = Field(default=0, ge=0, description="Allocated at most so far; 0: no GPU.")


class WarningReport(Message):
    """Something the user should know."""

    type: Literal["warning"] = "warning"
    warning: JobWarning


class CheckpointReport(Message):
    """A checkpoint stands whole in the folder. ``final``: training ended with it."""

    type: Literal["checkpoint"] = "checkpoint"
    file: str
    step: int = Field(ge=0)
    final: bool = False


class PreviewReport(Message):
    """A new contact sheet stands in the folder."""

    type: Literal["preview"] = "preview"
    file: str


class TrainedReport(Message):
    """Training has ended; the final checkpoint was reported before."""

    type: Literal["trained"] = "trained"
    metrics: dict[str, Any] = Field(default_factory=dict)


class SampledReport(Message):
    """The sample set stands in the folder."""

    type: Literal["sampled"] = "sampled"
    archive: str
    items: str
    sheet: str | None = None
    sha256: Sha256
    size_bytes: int = Field(ge=0)
    generated: int = Field(ge=1)
    kept: int = Field(ge=1)
    rejected: int = Field(ge=0)
    metrics: dict[str, Any] = Field(default_factory=dict)


class StoppedReport(Message):
    """The child stopped because it was told to."""

    type: Literal["stopped"] = "stopped"


class FailureReport(Message):
    """The child can't do this work.

    Attributes:
        code: of the job's failure, with ``detail`` and ``hint``.
        memory: it ran out of memory: once more, smaller.
        again: another attempt may succeed, here or elsewhere. Else the same input would end the
            same way.
    """

    type: Literal["failure"] = "failure"
    code: str
    detail: str
    hint: str = ""
    memory: bool = False
    again: bool = False


Report = Annotated[
    EngineReport
    | ConfigReport
    | ProgressReport
    | WarningReport
    | CheckpointReport
    | PreviewReport
    | TrainedReport
    | SampledReport
    | StoppedReport
    | FailureReport,
    Field(discriminator="type"),
]
Ending = TrainedReport | SampledReport | StoppedReport | FailureReport

REPORTS: TypeAdapter[Report] = TypeAdapter(Report)
"""Parses one line of the child's output."""

ASSIGNMENT_FILE = "assignment.json"
