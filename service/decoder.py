"""Runs the decoding helper: a bounded number at once, each under its own limits."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.decoding import (
    ANSWER_NAME,
    EXIT_OUT_OF_MEMORY,
    REQUEST_NAME,
    DecodeAnswer,
    DecodeLimits,
    DecodeRequest,
    ReadSummary,
)
from service.problem_codes import PROBLEM_KINDS
from service.problems import ProblemError

_LOG = structlog.get_logger(__name__)

# Beyond 1 GiB for the interpreter and its libraries: RGB, alpha, mask and the reader's copies.
_BASE_MEMORY_BYTES = 1 << 30
_MEMORY_BYTES_PER_PIXEL = 48
_FILE_BYTES_PER_PIXEL = 4
_STDERR_KEPT_BYTES = 4_000
_PASSED_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME")


@dataclass(frozen=True, kw_only=True)
class DecoderOptions:
    """How uploads are decoded.

    Attributes:
        concurrency: helpers at once.
        queue_seconds: how long an upload waits for a free helper before it is told to come back.
        wall_seconds: how long one helper may take.
        max_pixels: largest image, in pixels.
    """

    concurrency: int = 2
    queue_seconds: float = 30.0
    wall_seconds: float = 60.0
    max_pixels: int = 50_000_000

    def limits(self) -> DecodeLimits:
        """The helper's limits that follow."""
        return DecodeLimits(
            memory_bytes=_BASE_MEMORY_BYTES + _MEMORY_BYTES_PER_PIXEL * self.max_pixels,
            cpu_seconds=max(1, int(self.wall_seconds)),
            wall_seconds=self.wall_seconds,
            file_bytes=(1 << 20) + _FILE_BYTES_PER_PIXEL * self.max_pixels,
        )


class Decoder:
    """Decodes uploads in helper processes, so that no other request waits for pixels."""

    def __init__(self, options: DecoderOptions) -> None:
        self.options = options
        self._slots = asyncio.Semaphore(options.concurrency)

    async def read(self, folder: Path, request: DecodeRequest) -> ReadSummary:
        """Read the pair in ``folder`` (files ``image`` and ``mask``).

        Raises:
            ProblemError: the pair's own refusal, ``too_complex`` where the helper ran into its
                limits, ``busy`` where no helper became free.
        """
        (folder / REQUEST_NAME).write_text(request.model_dump_json())
        try:
            async with asyncio.timeout(self.options.queue_seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise ProblemError("busy", "All decoders are busy.") from error
        try:
            status, stderr = await self._run(folder)
        finally:
            self._slots.release()
        answer_path = folder / ANSWER_NAME
        if status != 0 or not answer_path.exists():
            raise _failure(status, stderr)
        answer = DecodeAnswer.model_validate_json(answer_path.read_bytes())
        if answer.summary is None:
            raise _refusal(answer)
        return answer.summary

    async def _run(self, folder: Path) -> tuple[int, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "service.decoding",
            str(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        try:
            # The helper's own timer is the limit; the margin is for a helper that can't obey it.
            async with asyncio.timeout(self.options.wall_seconds + 5):
                _, stderr = await process.communicate()
        except TimeoutError:
            stderr = b"killed: no answer in time"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode if process.returncode is not None else -1, stderr


def _environment() -> dict[str, str]:
    """The little that Python needs; no settings, so no secrets."""
    passed = {name: os.environ[name] for name in _PASSED_ENVIRONMENT if name in os.environ}
    # One thread: each further one of OpenBLAS reserves address space, and none is needed.
    own = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # Under its limit on file sizes a half-written .pyc would stay for everyone.
    return {**passed, **own, "PYTHONDONTWRITEBYTECODE": "1"}


def _failure(status: int, stderr: bytes) -> ProblemError:
    """The helper's stderr goes to the log; the caller learns only that it was too much."""
    _LOG.warning(
        "decoding_failed",
        exit_status=status,
        stderr=stderr[-_STDERR_KEPT_BYTES:].decode(errors="replace"),
    )
    if status < 0 or status == EXIT_OUT_OF_MEMORY:
        return ProblemError("too_complex", "Decoding was stopped at its time or memory limit.")
    return ProblemError("broken_image", "Image or mask could not be decoded.")


def _refusal(answer: DecodeAnswer) -> ProblemError:
    refusal = answer.refusal
    if refusal is None:
        raise RuntimeError("the decoding helper left neither a summary nor a refusal")
    if refusal.code not in PROBLEM_KINDS:
        _LOG.error("unregistered_code", code=refusal.code)
        return ProblemError("bad_pair", refusal.detail, hint=refusal.hint)
    return ProblemError(refusal.code, refusal.detail, hint=refusal.hint)
