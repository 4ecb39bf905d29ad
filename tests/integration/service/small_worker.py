"""Stands where a worker would, on the real state machine and the real store, without torch."""

from __future__ import annotations

import hashlib
import json

from jobs.objects import ObjectStore
from jobs.record import (
    Checkpoint,
    Engine,
    JobRequest,
    Kind,
    Phase,
    Progress,
    SetResult,
    Status,
    TaskRef,
)
from jobs.state import BeatReport, Claim, Outcome, TaskStore
from tests.builders import new_job

ENGINE = Engine(core_version="0.1.0", scoring_network="test", scoring_weights_sha256="0" * 64)


class SmallWorker:
    """Does what a worker does to a job's state, through the same state machine, without torch."""

    def __init__(self, tasks: TaskStore, objects: ObjectStore) -> None:
        self.tasks = tasks
        self.objects = objects

    def accepted(self) -> str:
        """A queued job with stored inputs, as the gateway leaves it, without the decoding."""
        new = new_job(request=JobRequest())
        for key in (new.input.image_key, new.input.mask_key, new.input.pair_key):
            self.objects.put_bytes(key, b"input")
        answer = self.tasks.create_job(new)
        assert answer.job is not None
        return answer.job.id

    def claim(self, job_id: str, set_id: str | None = None) -> Claim:
        ref = TaskRef(job_id, set_id)
        claim = self.tasks.claim(Kind.JOB if set_id is None else Kind.SET, ref)
        assert claim is not None
        return claim

    def beat(self, claim: Claim, phase: Phase, step: int, preview: bytes | None = None) -> None:
        key = None
        if preview is not None:
            key = f"{claim.prefix}preview-{step}.png"
            self.objects.put_bytes(key, preview)
        progress = Progress(step=step, total=100, fraction=step / 100, eta_seconds=12.0)
        answer = self.tasks.beat(claim, BeatReport(phase=phase, progress=progress, preview_key=key))
        assert not answer.refused

    def checkpoint(self, claim: Claim, step: int, *, final: bool) -> None:
        key = f"{claim.prefix}checkpoint-{step}.safetensors"
        info = self.objects.put_bytes(key, b"weights")
        published = Checkpoint(
            key=key, sha256=f"{step:064x}", step=step, size_bytes=info.size_bytes, final=final
        )
        assert not self.tasks.publish_checkpoint(claim, published, engine=ENGINE).refused

    def finish(self, claim: Claim, archive: bytes | None = None, sheet: bytes = b"sheet") -> None:
        result = None if archive is None else self._store_result(claim, archive, sheet)
        self.tasks.finish(claim, Outcome(status=Status.SUCCEEDED, result=result))

    def train(self, job_id: str) -> None:
        """Run a whole job that makes no set of its own."""
        claim = self.claim(job_id)
        self.beat(claim, Phase.TRAINING, 50)
        self.checkpoint(claim, 100, final=True)
        self.finish(claim)

    def _store_result(self, claim: Claim, archive: bytes, sheet: bytes) -> SetResult:
        request = claim.sample_set.request if claim.sample_set else None
        assert request is not None
        items = [{"index": i, "seed": i, "kept": i > 0} for i in range(request.n)]
        self.objects.put_bytes(f"{claim.prefix}set.zip", archive)
        self.objects.put_bytes(f"{claim.prefix}items.json", json.dumps(items).encode())
        self.objects.put_bytes(f"{claim.prefix}preview.jpg", sheet)
        return SetResult(
            archive_key=f"{claim.prefix}set.zip",
            size_bytes=len(archive),
            sha256=hashlib.sha256(archive).hexdigest(),
            items_key=f"{claim.prefix}items.json",
            sheet_key=f"{claim.prefix}preview.jpg",
            generated=request.n,
            kept=request.n - 1,
            rejected=1,
        )
