"""What clients ask for, through the gateway: create, cancel, finish, delete."""

from __future__ import annotations

from jobs import keys as object_keys
from jobs.record import SampleSetRequest, TaskRef
from jobs.state.answers import Answer, CreateAnswer, CreateSetAnswer, NewJob
from jobs.state.codec import job_document, warning_lines
from jobs.state.scripts import ScriptedStore, name_set


class ClientEvents(ScriptedStore):
    """The events that clients cause."""

    def create_job(self, new: NewJob) -> CreateAnswer:
        """CREATE: queue a job whose inputs are stored already; then ring it.

        Returns:
            ``created``; ``replayed`` (same Idempotency-Key and fingerprint: the first one's job);
            ``conflict``; ``gone`` (the job of that key was deleted); ``too_many`` (unfinished jobs
            of that owner); ``crowded`` (all of its jobs); ``too_much`` (stored by that owner). All
            but ``created``: delete the inputs just uploaded.
        """
        digest = ""
        if new.idempotency_key is not None:
            digest = object_keys.idempotency_digest(new.owner, new.idempotency_key)
        document = job_document(
            new.id,
            request=new.request.model_dump(mode="json"),
            input=new.input.model_dump(mode="json"),
            classes=[one.model_dump(mode="json") for one in new.classes],
            plan=new.plan,
            request_id=new.request_id,
            trace_context=new.trace_context,
        )
        warnings = warning_lines(new.warnings)
        answer, job_id = self._run(
            "create", new.id, new.owner, document, warnings, digest, new.fingerprint or "",
            str(new.input.size_bytes), "1" if new.request.webhook_url else "0",
        )  # fmt: skip
        if answer in {Answer.CREATED, Answer.REPLAYED}:
            return CreateAnswer(answer=Answer(answer), job=self.get_job(job_id))
        return CreateAnswer(answer=Answer(answer))

    def create_set(
        self,
        job_id: str,
        request: SampleSetRequest,
        *,
        owner: str = "",
        trace_context: str = "",
    ) -> CreateSetAnswer:
        """CREATE of a sample set from the job's newest checkpoint; then ring it.

        A failed or cancelled set with the same parameters is queued again.

        Returns:
            ``created``, ``restarted`` or ``exists`` with the set; ``not_trained``,
            ``no_checkpoint``, ``too_many``, ``too_much``, ``unknown``, or ``gone`` (the job was
            deleted, or this set a moment ago).
        """
        for _ in range(3):
            job = self.get_job(job_id)
            if job is None:
                deleted = self.is_deleted(TaskRef(job_id))
                return CreateSetAnswer(answer=Answer.GONE if deleted else Answer.UNKNOWN)
            if job.checkpoint is None or job.engine is None:
                ended = job.status.terminal
                return CreateSetAnswer(answer=Answer.NO_CHECKPOINT if ended else Answer.NOT_TRAINED)
            set_id, document = name_set(
                job_id, job.checkpoint, request, job.engine, trace_context=trace_context
            )
            (answer,) = self._run(
                "create_set", job_id, set_id, owner, document,
                job.checkpoint.sha256, job.checkpoint.key,
            )  # fmt: skip
            if answer != "changed":  # a newer checkpoint came in between: name the set again
                break
        else:
            return CreateSetAnswer(answer=Answer.NOT_TRAINED)
        if answer in {Answer.CREATED, Answer.RESTARTED, Answer.EXISTS}:
            return CreateSetAnswer(answer=Answer(answer), sample_set=self.get_set(job_id, set_id))
        return CreateSetAnswer(answer=Answer(answer))

    def request_cancel(self, ref: TaskRef) -> Answer:
        """CANCEL: at once when queued; a running task's worker learns it by its next beat.

        Returns:
            ``cancelled``, ``cancelling``, ``done``, ``made_by_job`` (cancel the job instead),
            ``gone`` or ``unknown``.
        """
        return Answer(self._run("cancel", str(ref))[0])

    def request_finish(self, job_id: str) -> Answer:
        """FINISH-REQUEST: stop training and keep what is learned.

        Returns:
            ``ok``, ``nothing_learned`` (no checkpoint yet), ``cancelling``, ``done``, ``gone`` or
            ``unknown``.
        """
        return Answer(self._run("finish_request", job_id)[0])

    def delete(self, ref: TaskRef) -> Answer:
        """DELETE: forget a task; its id is refused from now on.

        The caller then deletes the objects under ``keys.task_prefix(ref)``; housekeeping does so
        again after 2 × lease, when no worker can be writing any more.

        Returns:
            ``ok``, ``gone``, ``unknown``, or ``made_by_job`` (an unfinished set that the job's own
            run makes).
        """
        return Answer(self._run("delete", str(ref))[0])
