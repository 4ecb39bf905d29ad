"""What a worker says: claim, beat, publish, adopt, finish, release, strike."""

from __future__ import annotations

import json
import uuid

from jobs.record import Checkpoint, Engine, JobFailure, Kind, SampleSet, TaskRef
from jobs.state.answers import (
    Answer,
    BeatAnswer,
    BeatReport,
    Claim,
    ClaimAnswer,
    Outcome,
    PublishAnswer,
)
from jobs.state.codec import decode_job, decode_set, warning_lines
from jobs.state.scripts import ScriptedStore, name_set


class WorkerEvents(ScriptedStore):
    """The events that workers cause; all but CLAIM carry the claim's token."""

    def claim(self, kind: Kind, ref: TaskRef | None = None) -> Claim | None:
        """CLAIM ``ref``, or the task that has waited longest; None when there is nothing to do."""
        return self.try_claim(kind, ref).claim

    def try_claim(self, kind: Kind, ref: TaskRef | None = None) -> ClaimAnswer:
        """CLAIM, and why not.

        Returns:
            ``claimed`` with the claim; ``held``, ``early``, ``done``, ``cancelled`` (its flag was
            seen), ``gone``, ``unknown``, ``newer`` (it stays in line) or ``empty``.
        """
        wanted = "" if ref is None else str(ref)
        answer, found, *rest = self._run("claim", kind, wanted, uuid.uuid4().hex)
        if answer != Answer.CLAIMED:
            ref = TaskRef.parse(found) if found else None
            return ClaimAnswer(answer=Answer(answer), ref=ref)
        token, job_fields, own_fields = rest
        claimed = TaskRef.parse(found)
        claim = Claim(
            ref=claimed,
            token=token,
            lease_seconds=self.settings.lease_seconds,
            job=decode_job(_pairs(job_fields)),
            sample_set=decode_set(_pairs(own_fields)) if claimed.set_id else None,
        )
        return ClaimAnswer(answer=Answer.CLAIMED, ref=claimed, claim=claim)

    def beat(self, claim: Claim, report: BeatReport | None = None) -> BeatAnswer:
        """BEAT: renew the lease, report, and learn what is asked for."""
        report = report or BeatReport()
        answer, cancel, finish = self._run(
            "beat",
            str(claim.ref),
            claim.token,
            report.phase or "",
            report.progress.model_dump_json() if report.progress else "",
            warning_lines(report.warnings),
            report.preview_key or "",
            json.dumps(report.effective_config) if report.effective_config is not None else "",
        )
        return BeatAnswer(
            refused=answer == Answer.REFUSED, cancel=cancel == "1", finish=finish == "1"
        )

    def publish_checkpoint(
        self, claim: Claim, checkpoint: Checkpoint, *, engine: Engine
    ) -> PublishAnswer:
        """PUBLISH: the checkpoint to resume from; its object is stored and its hash known.

        A step beyond every earlier one forgives all strikes and losses.

        Returns:
            Refused, or the keys of checkpoints that nothing needs any more (all but the newest two
            and those that a sample set names): the holder deletes their objects.
        """
        answer, *obsolete = self._run(
            "publish",
            str(claim.ref),
            claim.token,
            checkpoint.model_dump_json(),
            engine.model_dump_json(),
        )
        return PublishAnswer(refused=answer == Answer.REFUSED, obsolete=tuple(obsolete))

    def adopt_first_set(self, claim: Claim) -> SampleSet | None:
        """ADOPT: the job's own run is about to make the set of ``request.first_set``.

        Call it after the final checkpoint; it creates the set's record (or takes over a queued
        one). From then on the set's status, phase and progress follow the job's, and ``finish``
        completes both at once.

        Returns:
            The set. Make it only if ``made_by_job``; otherwise a task of its own makes or has made
            it, and the job finishes without a result. None: the token is old, or the request wants
            no set, or there is no checkpoint.
        """
        job = self.get_job(claim.ref.job_id)
        if job is None or job.request.first_set is None:
            return None
        if job.checkpoint is None or job.engine is None:
            return None
        set_id, document = name_set(
            job.id,
            job.checkpoint,
            job.request.first_set,
            job.engine,
            trace_context=job.trace_context,
        )
        (answer,) = self._run("adopt", job.id, claim.token, set_id, document, job.checkpoint.key)
        return None if answer in {"refused", "gone"} else self.get_set(job.id, set_id)

    def finish(self, claim: Claim, outcome: Outcome) -> Answer:
        """FINISH: the only way to a result.

        Returns:
            ``ok``; ``cancelled`` when a cancel came before this success (the result is dropped:
            remove the attempt's prefix); ``refused``.
        """
        failure = outcome.failure
        return Answer(
            self._run(
                "finish",
                str(claim.ref),
                claim.token,
                outcome.status,
                failure.model_dump_json() if failure else "",
                json.dumps(outcome.metrics),
                outcome.result.model_dump_json() if outcome.result else "",
                warning_lines(outcome.warnings),
            )[0]
        )

    def release(self, claim: Claim) -> Answer:
        """RELEASE: this worker stops; another goes on from the last checkpoint.

        Returns:
            ``requeued``, ``cancelled``, ``failed`` (tenth loss without progress) or ``refused``.
        """
        return Answer(self._run("release", str(claim.ref), claim.token)[0])

    def strike(self, claim: Claim, failure: JobFailure) -> Answer:
        """STRIKE: the child died, hung or exited non-zero.

        Returns:
            ``requeued`` (after an exponential delay), ``failed`` (third strike without progress;
            ``failure`` is on the record), ``cancelled`` or ``refused``.
        """
        answer = self._run("strike", str(claim.ref), claim.token, failure.model_dump_json())
        return Answer(answer[0])


def _pairs(flat: list[str] | dict[str, str]) -> dict[str, str]:
    if isinstance(flat, dict):  # RESP3 gives a map
        return flat
    return dict(zip(flat[::2], flat[1::2], strict=True))
