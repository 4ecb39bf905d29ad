"""Brings a child's checkpoints and previews to the object store while it works on."""

from __future__ import annotations

import time
from concurrent.futures import Future
from pathlib import Path

import structlog

from jobs.errors import StoreAway, StoreFull
from jobs.record import Checkpoint, Engine
from jobs.state import Claim, TaskStore
from worker.lease import Lease, LeaseLostError
from worker.protocol import CheckpointReport, PreviewReport
from worker.transfers import Transfers, Uploaded

log = structlog.get_logger(__name__)

PREVIEWS_KEPT = 8
PUBLISH_AGAIN_SECONDS = 1.0


class Courier:
    """Uploads beside the work and publishes what has arrived; ticked by the supervisor's thread.

    Only the newest waiting checkpoint is uploaded: while the store is slow, older ones would
    only queue up. Published keys are never overwritten; obsolete objects are deleted here.

    Args:
        store: where checkpoints are published.
        lease: the right to publish; carries the preview's key with its next beat.
        transfers: moves the files.
        folder: where the child writes.
        engine: as recorded by an earlier attempt, if any.
    """

    def __init__(
        self,
        store: TaskStore,
        lease: Lease,
        transfers: Transfers,
        *,
        folder: Path,
        engine: Engine | None,
    ) -> None:
        self.engine = engine
        self.published: Checkpoint | None = None
        self._store = store
        self._lease = lease
        self._transfers = transfers
        self._folder = folder
        self._waiting: CheckpointReport | None = None
        self._uploading: tuple[CheckpointReport, Future[Uploaded]] | None = None
        self._arrived: Checkpoint | None = None
        self._file_of_published: str | None = None
        self._publish_not_before = 0.0
        self._preview: Future[Uploaded] | None = None
        self._preview_waiting: str | None = None
        self._preview_keys: list[str] = []

    @property
    def _claim(self) -> Claim:
        return self._lease.claim

    @property
    def newest_file(self) -> str | None:
        """The newest checkpoint that a child has left in the folder."""
        for report in (self._waiting, self._uploading[0] if self._uploading else None):
            if report is not None:
                return report.file
        return self._file_of_published

    @property
    def is_idle(self) -> bool:
        """Whether every reported checkpoint is published."""
        return self._waiting is None and self._uploading is None and self._arrived is None

    def take_checkpoint(self, report: CheckpointReport) -> None:
        """A checkpoint stands in the folder; a waiting older one is dropped."""
        if self._waiting is not None and self._waiting.file != report.file:
            (self._folder / self._waiting.file).unlink(missing_ok=True)
        self._waiting = report

    def take_preview(self, report: PreviewReport) -> None:
        """A contact sheet stands in the folder."""
        self._preview_waiting = report.file

    def tick(self) -> None:
        """Goes on with whatever can go on now.

        Raises:
            LeaseLostError: a publication was refused.
        """
        self._tick_preview()
        if self._uploading is not None and self._uploading[1].done():
            report, upload = self._uploading
            self._uploading = None
            self._arrived = _checkpoint(report, upload.result())
            self._file_of_published, old = report.file, self._file_of_published
            if old is not None and old != report.file:
                (self._folder / old).unlink(missing_ok=True)
        if self._arrived is not None and time.monotonic() >= self._publish_not_before:
            self._publish(self._arrived)
        if self._waiting is not None and self._uploading is None and self._arrived is None:
            self._send(self._waiting)
            self._waiting = None

    def _send(self, report: CheckpointReport) -> None:
        if report.file == self._file_of_published and self.published is not None:
            # The same bytes again, now known to be the last: nothing to upload.
            self._arrived = self.published.model_copy(update={"final": report.final})
            return
        key = f"{self._claim.prefix}{report.file}"
        upload = self._transfers.upload(
            self._folder / report.file, key, content_type="application/octet-stream"
        )
        self._uploading = (report, upload)

    def publish_final(self, checkpoint: Checkpoint) -> None:
        """Declares a published checkpoint to be the training's last."""
        self._arrived = checkpoint.model_copy(update={"final": True})

    def _publish(self, checkpoint: Checkpoint) -> None:
        assert self.engine is not None, "the child reports its engine before any checkpoint"
        try:
            answer = self._store.publish_checkpoint(self._claim, checkpoint, engine=self.engine)
        except (StoreAway, StoreFull) as error:
            log.warning("publish_failed", task=str(self._claim.ref), reason=str(error))
            self._publish_not_before = time.monotonic() + PUBLISH_AGAIN_SECONDS
            return
        if answer.refused:
            raise LeaseLostError(f"{self._claim.ref}: checkpoint refused")
        self._arrived = None
        self.published = checkpoint
        for key in answer.obsolete:
            self._transfers.delete(key)

    def _tick_preview(self) -> None:
        if self._preview is not None and self._preview.done():
            key = self._preview.result().key
            self._preview = None
            self._lease.report(preview_key=key)
            self._preview_keys.append(key)
            if len(self._preview_keys) > PREVIEWS_KEPT:
                self._transfers.delete(self._preview_keys.pop(0))
        if self._preview is None and self._preview_waiting is not None:
            file, self._preview_waiting = self._preview_waiting, None
            self._preview = self._transfers.upload(
                self._folder / file, f"{self._claim.prefix}{file}", content_type="image/png"
            )


def _checkpoint(report: CheckpointReport, uploaded: Uploaded) -> Checkpoint:
    return Checkpoint(
        key=uploaded.key,
        sha256=uploaded.sha256,
        step=report.step,
        size_bytes=uploaded.size_bytes,
        final=report.final,
    )
