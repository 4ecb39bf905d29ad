"""A job's work: train, then make its first sample set."""

from __future__ import annotations

from typing import Any, Literal

from jobs.keys import attempt_prefix
from jobs.record import Checkpoint, JobFailure, JobWarning, SampleSet, SetResult, Status
from jobs.state import Outcome
from worker.attempt import Attempt
from worker.endings import ChildCrashedError, WorkFailedError
from worker.lease import LeaseLostError
from worker.protocol import Assignment, SampledReport, Scoring, TrainedReport


class SamplingAttempt(Attempt):
    """What jobs and sample sets share: making a set and bringing it to the object store."""

    def make_set(self, sample_set: SampleSet, checkpoint_file: str) -> SetResult:
        """Has a child make the set, and stores it under this attempt's prefix.

        Raises:
            AttemptEndedError: it ended without a result.
            LeaseLostError: the claim is lost.
        """

        def assignment(is_smaller: bool) -> Assignment:
            return self.assignment(
                "sample",
                is_smaller=is_smaller,
                checkpoint=checkpoint_file,
                request=sample_set.request,
                manifest=self._manifest(sample_set),
            )

        made = self.run_child(assignment)
        if not isinstance(made, SampledReport):
            raise _unexpected(made)
        prefix = attempt_prefix(sample_set.ref, self.claim.token)
        archive = self._store(made.archive, f"{prefix}archive.zip", "application/zip")
        if archive != made.sha256:
            raise ChildCrashedError(
                JobFailure(
                    code="archive_damaged",
                    detail="The archive's hash is not the one it was written with.",
                    hint="Check the worker's disk.",
                )
            )
        self._store(made.items, f"{prefix}items.json", "application/json")
        sheet_key = None
        if made.sheet is not None:
            sheet_key = f"{prefix}{made.sheet}"
            self._store(made.sheet, sheet_key, "image/jpeg")
        return SetResult(
            archive_key=f"{prefix}archive.zip",
            size_bytes=made.size_bytes,
            sha256=made.sha256,
            items_key=f"{prefix}items.json",
            sheet_key=sheet_key,
            generated=made.generated,
            kept=made.kept,
            rejected=made.rejected,
            metrics=made.metrics,
        )

    def assignment(
        self, work: Literal["train", "sample"], *, is_smaller: bool, **details: Any
    ) -> Assignment:
        """A child's work on this claim's pair."""
        settings = self.shop.settings
        return Assignment(
            work=work,
            folder=self.folder,
            plan=self.claim.job.plan,
            device=settings.device,
            cuda_graphs=settings.cuda_graphs,
            smaller=is_smaller,
            checkpoint_seconds=settings.checkpoint_seconds,
            scoring=Scoring(
                inception_weights=settings.inception_weights,
                inception_sha256=settings.inception_sha256,
            ),
            **details,
        )

    def _store(self, file: str, key: str, content_type: str) -> str:
        """Uploads a file of the attempt's folder; returns its hash."""
        upload = self.transfers.upload(self.folder / file, key, content_type=content_type)
        return self.wait_for(upload).sha256

    def _manifest(self, sample_set: SampleSet) -> dict[str, Any]:
        """What only the job's record knows of how the set was made."""
        job = self.claim.job
        return {
            "job": job.id,
            "set": sample_set.id,
            "request": sample_set.request.model_dump(mode="json"),
            "input_sha256": dict(job.input_sha256),
            "checkpoint": {
                "sha256": sample_set.checkpoint.sha256,
                "step": sample_set.checkpoint.step,
            },
            "engine": sample_set.engine.model_dump(mode="json"),
        }


class JobAttempt(SamplingAttempt):
    """Trains, unless that is done, and makes the set that the job asks for."""

    def work(self) -> Outcome:
        """See the class."""
        self.fetch_inputs()
        metrics: dict[str, Any] = {}
        file = self._trained_before()
        if file is None:
            file, metrics = self._train()
        sample_set = self._adopt_first_set()
        if sample_set is None or not sample_set.made_by_job:
            # Not asked for, or a task of its own has it already.
            return Outcome(status=Status.SUCCEEDED, metrics=metrics)
        result = self.make_set(sample_set, file)
        return Outcome(
            status=Status.SUCCEEDED, metrics={**metrics, **result.metrics}, result=result
        )

    def _adopt_first_set(self) -> SampleSet | None:
        """The record of the set to make; None when none is wanted.

        Raises:
            LeaseLostError: the claim is lost.
        """
        adopted = self.wait_for(self.transfers.submit(self.shop.store.adopt_first_set, self.claim))
        if adopted is None and self.claim.job.request.first_set is not None:
            self.lease.tick(now=True)
            raise LeaseLostError(f"{self.claim.ref}: first set refused")
        return adopted

    def _trained_before(self) -> str | None:
        """The final checkpoint's file, when an earlier attempt has trained to the end.

        Also when the user has asked to finish: then the newest checkpoint is the final one.
        """
        job = self.claim.job
        newest = job.checkpoint
        if newest is None or not (job.trained or self.lease.finish):
            return None
        file = self.fetch_checkpoint(newest)
        if file is not None and not newest.final:
            self.courier.publish_final(newest)
            self.settle_courier()
        return file

    def _train(self) -> tuple[str, dict[str, Any]]:
        """Trains to the end.

        Returns:
            The final checkpoint's file, and the training's metrics.
        """
        resume = self._resume_from()

        def assignment(is_smaller: bool) -> Assignment:
            newest = self.courier.newest_file or resume
            return self.assignment("train", is_smaller=is_smaller, checkpoint=newest)

        trained = self.run_child(assignment)
        file = self.courier.newest_file
        if not isinstance(trained, TrainedReport) or file is None:
            raise _unexpected(trained)
        return file, trained.metrics

    def _resume_from(self) -> str | None:
        """The newest whole checkpoint; a damaged one is passed over for the one before."""
        job = self.claim.job
        published = [c for c in (job.checkpoint, job.previous_checkpoint) if c is not None]
        for checkpoint in published:
            file = self.fetch_checkpoint(checkpoint)
            if file is not None:
                return file
            self._warn_of_damage(checkpoint)
        return None

    def _warn_of_damage(self, checkpoint: Checkpoint) -> None:
        self.lease.warn(
            JobWarning(
                code="checkpoint_damaged",
                detail=f"The checkpoint of step {checkpoint.step} was damaged and is not used.",
                hint="Check the object store's disks.",
            )
        )


class SetAttempt(SamplingAttempt):
    """Makes one more sample set of a trained job."""

    def work(self) -> Outcome:
        """See the class."""
        sample_set = self.claim.sample_set
        assert sample_set is not None, "a set's claim carries the set"
        self.fetch_inputs()
        file = self.fetch_checkpoint(sample_set.checkpoint)
        if file is None:
            raise WorkFailedError(
                JobFailure(
                    code="no_checkpoint",
                    detail="The checkpoint that this set names is missing or damaged.",
                    hint="Submit the pair again.",
                )
            )
        result = self.make_set(sample_set, file)
        return Outcome(status=Status.SUCCEEDED, metrics=result.metrics, result=result)


def _unexpected(said: object) -> ChildCrashedError:
    return ChildCrashedError(
        JobFailure(
            code="worker_crashed",
            detail=f"The process doing the work ended with {type(said).__name__}.",
            hint="The log tells more.",
        )
    )
