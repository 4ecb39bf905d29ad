"""``onepair run`` and ``onepair samples``: submit, watch, download, unpack."""

from __future__ import annotations

import json
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from cli.api import Service, ServiceRefusedError
from cli.show import JobDisplay

POLL_SECONDS = 0.5
CANCEL_WAIT_SECONDS = 15.0
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class TaskFailedError(Exception):
    """The job or set ended without a result.

    Attributes:
        hint: what to do about it; may be empty.
    """

    def __init__(self, detail: str, hint: str = "") -> None:
        super().__init__(detail)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What ``onepair run`` was asked for.

    Attributes:
        preset: draft, standard or paper.
        method: projected or osmis; the preset's if None.
        mask_supervision: what the discriminator does with masks; ``none`` for an image alone.
        low_level_blocks: of the published method's discriminator; by the size if None.
        minutes: training budget in minutes; the preset's if None.
        iterations: training steps instead of a budget.
        max_size: longest side of the training frame in pixels.
        output_size: ``native``, ``train`` or ``WxH``.
        seed: of the training.
        n: samples to generate.
        class_names: names by index.
    """

    preset: str = "standard"
    method: str | None = None
    mask_supervision: str = "mca"
    low_level_blocks: int | None = None
    minutes: float | None = None
    iterations: int | None = None
    max_size: int | None = None
    output_size: str = "native"
    seed: int = 0
    n: int = 100
    class_names: tuple[str, ...] | None = None

    def fields(self) -> dict[str, str]:
        """Form fields of ``POST /jobs``."""
        fields = {
            "preset": self.preset,
            "mask_supervision": self.mask_supervision,
            "seed": str(self.seed),
            "output_size": self.output_size,
            "n": str(self.n),
        }
        if self.method is not None:
            fields["method"] = self.method
        if self.low_level_blocks is not None:
            fields["low_level_blocks"] = str(self.low_level_blocks)
        if self.minutes is not None:
            fields["max_runtime_seconds"] = str(max(1, round(self.minutes * 60)))
        if self.iterations is not None:
            fields["iterations"] = str(self.iterations)
        if self.max_size is not None:
            fields["max_size"] = str(self.max_size)
        if self.class_names is not None:
            fields["classes"] = json.dumps(self.class_names)
        return fields


def run_job(
    service: Service, image: Path, mask: Path | None, request: RunRequest, console: Console
) -> dict[str, Any]:
    """Submits a pair, or an image alone, and waits for the job's end; Ctrl-C cancels the job.

    Raises:
        ServiceRefusedError: the pair was refused, or the service went away.
        TaskFailedError: the job failed or was cancelled.
    """
    job = service.create_job(image, mask, request.fields())
    console.print(f"job {job['id']}", highlight=False)
    try:
        return _watch(service, job["id"], console)
    except KeyboardInterrupt:
        console.print("cancelling the job …")
        _cancel(service, job["id"])
        raise


def fetch_set(
    service: Service, job_id: str, *, n: int, seed: int, target: Path, console: Console
) -> tuple[Path, Path]:
    """Has a sample set made, downloads it and unpacks it.

    Args:
        service: where the job is.
        job_id: a trained job.
        n: samples to generate.
        seed: of the samples; 0 with the job's own n is the set that the job itself made.
        target: folder that gets the unpacked set and ``onepair.zip``.
        console: where progress is shown.

    Returns:
        Paths of the zip and of its contact sheet.

    Raises:
        ServiceRefusedError: refused, damaged on its way, or the service went away.
        TaskFailedError: the set failed or was cancelled.
    """
    ready, sample_set = service.samples(job_id, n=n, seed=seed)
    if not ready:
        console.print(f"making a set of {n} samples (seed {seed})", highlight=False)
        with JobDisplay(console, service.url) as display:
            while not ready:
                _raise_if_ended(sample_set, "The sample set")
                display.update(sample_set)
                time.sleep(POLL_SECONDS)
                ready, sample_set = service.samples(job_id, n=n, seed=seed)
            display.finish()
    _raise_if_ended(sample_set, "The sample set")
    target.mkdir(parents=True, exist_ok=True)
    archive = target / "onepair.zip"
    _download(service, sample_set["download"], archive, console)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(target)
    console.print(
        f"{sample_set.get('kept')} samples kept of {sample_set.get('generated')}", highlight=False
    )
    return archive, target / "preview.jpg"


def _watch(service: Service, job_id: str, console: Console) -> dict[str, Any]:
    with JobDisplay(console, service.url) as display:
        while True:
            job = service.job(job_id)
            display.update(job)
            if job["status"] == "succeeded":
                display.finish()
                return job
            _raise_if_ended(job, "The job")
            time.sleep(POLL_SECONDS)


def _raise_if_ended(task: dict[str, Any], what: str) -> None:
    status = task.get("status")
    if status == "cancelled":
        raise TaskFailedError(f"{what} was cancelled.")
    if status == "failed":
        error = task.get("error") or {}
        raise TaskFailedError(
            f"{what} failed: {error.get('detail', 'no reason given')}", error.get("hint") or ""
        )


def _cancel(service: Service, job_id: str) -> None:
    """Asks for the job's end and waits a little for it; a job that is over is fine."""
    try:
        job = service.cancel(job_id)
        deadline = time.monotonic() + CANCEL_WAIT_SECONDS
        while job["status"] not in TERMINAL and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            job = service.job(job_id)
    except ServiceRefusedError:
        return


def _download(service: Service, download: dict[str, Any], archive: Path, console: Console) -> None:
    url = urljoin(f"{service.url}/", download["url"])
    columns = (TextColumn("download  "), BarColumn(bar_width=32), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task("download", total=download["size_bytes"])
        service.download(
            url,
            archive,
            sha256=download["sha256"],
            on_bytes=lambda count: bars.advance(bar, count),
        )
