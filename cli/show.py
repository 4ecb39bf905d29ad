"""Live display of a job on the terminal: one bar a stage, with time left."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

FAST = 10.0
"""Steps a second from which on a decimal is noise."""


class JobDisplay:
    """Shows a job's (or set's) phase and progress; on a pipe, one line a stage instead of bars.

    Args:
        console: where.
        url: of the service, to make links complete.
    """

    def __init__(self, console: Console, url: str) -> None:
        self._url = url
        self._console = console
        self._is_live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
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
        preview = (task.get("links") or {}).get("preview")
        if preview is not None:
            self._tell_once(f"watch it learn: {urljoin(f'{self._url}/', preview)}")
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
    """Steps, speed and time left in words: ``120/2000  4.1/s  7 min left``."""
    parts = []
    step, total = progress.get("step"), progress.get("total")
    if step is not None and total:
        parts.append(f"{step}/{total}")
    elif step:  # of a time budget that is not yet steps, for the speed is being measured
        parts.append(f"step {step}")
    if speed := progress.get("steps_per_second"):
        parts.append(f"{speed:.1f}/s" if speed < FAST else f"{speed:.0f}/s")
    eta = progress.get("eta_seconds")
    if eta is not None and step != total:
        parts.append(f"{in_words(eta)} left")
    return "  ".join(parts)


def in_words(seconds: float) -> str:
    """A duration: ``45 s``, ``7 min``, ``3.5 h``, ``2.1 days``."""
    for size, name, digits in ((86_400, "days", 1), (3_600, "h", 1), (60, "min", 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {name}"
    return f"{seconds:.0f} s"
