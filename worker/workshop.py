"""What all attempts of a worker share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from jobs.objects import ObjectStore
from jobs.settings import Settings
from jobs.state import TaskStore
from worker.metrics import WorkerMetrics


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What all attempts of a worker share.

    Attributes:
        settings: of the process.
        store: the state machine.
        objects: the object store.
        child_command: program and arguments of the child, before the assignment's path.
        folder: attempts get folders of their own in it.
        metrics: of this worker.
        stop_seconds: how long a child may take to stop when the worker shuts down.
    """

    settings: Settings
    store: TaskStore
    objects: ObjectStore
    child_command: tuple[str, ...]
    folder: Path
    stop_seconds: float = 20.0
    metrics: WorkerMetrics = field(default_factory=WorkerMetrics)
