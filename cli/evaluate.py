"""``onepair evaluate``: a set measured in a process of its own, progress and errors passed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cli.parts import describe_exit, tethered

STOP_SECONDS = 10.0
TAIL_LINES = 15
STAGE_NAMES = {
    "reading": "reading",
    "distance": "distance",
    "sifid": "SIFID",
    "verbatim": "verbatim",
    "lpips": "LPIPS",
    "layouts": "layouts",
    "unet": "U-Net",
}


class EvaluationFailedError(Exception):
    """The set was not measured.

    Attributes:
        code: stable, snake_case.
        hint: what to do about it; may be empty.
        is_input: the input is at fault, not the program.
    """

    def __init__(self, detail: str, *, code: str, hint: str = "", is_input: bool) -> None:
        super().__init__(detail)
        self.code, self.hint, self.is_input = code, hint, is_input


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What ``onepair evaluate`` was asked for.

    Attributes:
        pairs: a zip or folder with images/ and masks/.
        image: the source's image.
        mask: the source's mask.
        limit: pairs to judge; 0 judges all.
        unet: train the U-Nets.
        unet_repeats: how many.
        inception_weights: InceptionV3 weights for SIFID.
        inception_sha256: what they must hash to.
        classes: names by index, comma-separated.
        mask_encoding: of the source's mask.
        ignore_index: mask value without a label.
    """

    pairs: Path
    image: Path
    mask: Path
    limit: int = 100
    unet: bool = True
    unet_repeats: int = 1
    inception_weights: Path | None = None
    inception_sha256: str | None = None
    classes: str | None = None
    mask_encoding: str = "auto"
    ignore_index: int | None = None

    def command(self) -> list[str]:
        """The process that measures."""
        given = {
            "--limit": str(self.limit),
            "--unet-repeats": str(self.unet_repeats),
            "--mask-encoding": self.mask_encoding,
            "--inception-weights": self.inception_weights and str(self.inception_weights),
            "--inception-sha256": self.inception_sha256,
            "--classes": self.classes,
            "--ignore-index": None if self.ignore_index is None else str(self.ignore_index),
        }
        # with "=", so that a value that starts with a dash stays a value
        options = [f"{name}={value}" for name, value in given.items() if value is not None]
        flags = [] if self.unet else ["--no-unet"]
        paths = [str(path.absolute()) for path in (self.pairs, self.image, self.mask)]
        return [sys.executable, "-m", "osmis_core.evaluation", *options, *flags, "--", *paths]


def check_target(json_to: str | None) -> None:
    """Refuses a JSON file that can't be written, before minutes are spent on what goes there.

    Raises:
        EvaluationFailedError: ``unwritable``.
    """
    if json_to is None or json_to == "-":
        return
    path = Path(json_to)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise EvaluationFailedError(
            f"{path} can't be written",
            code="unwritable",
            hint="Name a file in a folder that exists; --json - prints to the terminal.",
            is_input=True,
        )


def measure(request: EvaluationRequest, console: Console) -> dict[str, Any]:
    """Measures a set, showing progress on ``console``; Ctrl-C ends the process.

    Returns:
        The report, see ``osmis_core.evaluation.evaluate``.

    Raises:
        EvaluationFailedError: the input is wrong, or the process died.
    """
    report: dict[str, Any] | None = None
    with tempfile.TemporaryFile() as errors, _started(request.command(), errors) as process:
        assert process.stdout is not None
        with _Bars(console) as bars:
            for event in _events(process.stdout):
                if event["event"] == "progress":
                    bars.update(event["stage"], event["done"], event["total"])
                elif event["event"] == "report":
                    report = event["report"]
                elif event["event"] == "error":
                    raise EvaluationFailedError(
                        event["detail"], code=event["code"], hint=event["hint"], is_input=True
                    )
        status = process.wait()
        if report is None:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
            raise EvaluationFailedError(
                "\n".join([f"The evaluation {describe_exit(status)}.", *tail]),
                code="evaluation_died",
                hint="Out of memory? Judge fewer pairs with --limit.",
                is_input=False,
            )
    return report


@contextmanager
def _started(command: Sequence[str], errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own that is over when the block ends."""
    process = subprocess.Popen(
        tethered(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.stdout is not None:
            process.stdout.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _events(lines: IO[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a library's own words
        if isinstance(event, dict) and "event" in event:
            yield event


class _Bars:
    """One bar a stage; on a pipe, one line a stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            name = STAGE_NAMES.get(stage, stage)
            self._tasks[stage] = self._bars.add_task(name, total=total)
            if not self._console.is_terminal:
                self._console.print(name, highlight=False)
        self._bars.update(self._tasks[stage], completed=done, total=total)
