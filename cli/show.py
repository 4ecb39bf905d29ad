"""Live display of a job on the terminal: one bar a stage, with time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

STAGES = ("preparing", "training", "generating", "refining", "scoring", "packing")


class JobDisplay:
    """Shows a job's (or set's) phase and progress; on a pipe, one line a stage instead of bars."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=32),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[note]:<28}"),
            TimeElapsedColumn(),
            console=console,
            disable=not self._is_live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._stage: str | None = None
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.__exit__(kind, error, trace)

    def update(self, task: dict[str, Any]) -> None:
        """Shows the record of a job or set, as the service gave it."""
        for warning in task.get("warnings") or []:
            self._tell_once(f"note: {warning['detail']}")
        phase = task.get("phase")
        if task.get("status") == "queued":
            position = task.get("queue_position")
            self._tell_once(f"queued{f' at place {position}' if position else ''}")
        if phase is None:
            return
        self._enter_stage(phase)
        progress = task.get("progress") or {}
        if phase in self._tasks:
            self._bars.update(
                self._tasks[phase],
                completed=float(progress.get("fraction") or 0.0),
                note=describe(progress),
            )

    def finish(self) -> None:
        """Marks the running stage as done."""
        self._complete(self._stage)

    def _enter_stage(self, phase: str) -> None:
        if phase == self._stage:
            return
        self._complete(self._stage)
        self._stage = phase
        if phase not in self._tasks:
            self._tasks[phase] = self._bars.add_task(phase, total=1.0, note="")
        if not self._is_live:
            self._console.print(phase)

    def _complete(self, stage: str | None) -> None:
        if stage is not None:
            self._bars.update(self._tasks[stage], completed=1.0, note="")
            self._bars.stop_task(self._tasks[stage])

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._console.print(message, markup=False, highlight=False)


def describe(progress: dict[str, Any]) -> str:
    """Steps, speed and time left in words: ``120/2000, 4.1/s, 7 min left``."""
    parts = []
    step, total = progress.get("step"), progress.get("total")
    if step is not None and total:
        parts.append(f"{step}/{total}")
    if speed := progress.get("steps_per_second"):
        parts.append(f"{speed:.1f}/s")
    eta = progress.get("eta_seconds")
    if eta is not None:
        parts.append(f"{eta:.0f} s left" if eta < 100 else f"{eta / 60:.0f} min left")
    return ", ".join(parts)
