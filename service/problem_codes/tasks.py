"""Refusals that depend on the state of a job or set, or of the service, at that moment."""

from __future__ import annotations

from service.problem_codes.kind import ProblemKind

TASK_KINDS = {
    "idempotency_conflict": ProblemKind(
        status=409,
        title="This Idempotency-Key belongs to another request",
        hint="Use a new key for a new request; repeat the same body under the same key.",
        example="The key was used with other files or fields.",
    ),
    "not_trained": ProblemKind(
        status=409,
        title="The job has not finished training",
        hint="Wait for `status: succeeded` (GET /jobs/{id}?wait=30), or stop training now with "
        "POST /jobs/{id}/finish.",
        example="The job is training: step 1200 of 4000.",
        retry_after_seconds=15,
    ),
    "no_checkpoint": ProblemKind(
        status=409,
        title="The job ended without having learned anything",
        hint="Submit the pair again.",
        example="The job was cancelled before its first checkpoint.",
    ),
    "nothing_learned": ProblemKind(
        status=409,
        title="There is nothing to finish with yet",
        hint="Wait for the first checkpoint (about 30 s of training), or cancel the job.",
        example="The job has no checkpoint yet.",
    ),
    "cancelling": ProblemKind(
        status=409,
        title="The job is being cancelled",
        hint="Wait for `status: cancelled`.",
        example="The job is being cancelled already.",
        retry_after_seconds=5,
    ),
    "already_ended": ProblemKind(
        status=409,
        title="The job or set has already ended",
        hint="GET it to see how it ended; DELETE removes it.",
        example="The job has already succeeded.",
    ),
    "not_ready": ProblemKind(
        status=409,
        title="The sample set is not ready",
        hint="Wait for `status: succeeded` (GET the set); POST starts a failed one again.",
        example="The set is running.",
        retry_after_seconds=5,
    ),
    "made_by_job": ProblemKind(
        status=409,
        title="This set is made by its job's own run",
        hint="Cancel, finish or delete the job instead.",
        example="The set is the job's last phase.",
    ),
    "being_deleted": ProblemKind(
        status=409,
        title="This set was deleted a moment ago",
        hint="Its files are still being removed; ask again in two minutes.",
        example="The set was deleted and is still being removed.",
        retry_after_seconds=120,
    ),
    "too_many_jobs": ProblemKind(
        status=429,
        title="Too many unfinished jobs",
        hint="Wait until one of them ends, or cancel one.",
        example="There are 1000 unfinished jobs.",
        retry_after_seconds=60,
    ),
    "too_many_kept_jobs": ProblemKind(
        status=429,
        title="This API key keeps as many jobs as it may",
        hint="Delete ended jobs (DELETE), or wait until some expire.",
        example="10000 jobs are kept.",
        retry_after_seconds=3600,
    ),
    "storage_used_up": ProblemKind(
        status=429,
        title="This API key has stored as much as it may",
        hint="Delete jobs or sample sets (DELETE), or wait until some expire.",
        example="100.0 of 100.0 GB are in use.",
        retry_after_seconds=3600,
    ),
    "too_many_sets": ProblemKind(
        status=429,
        title="Too many unfinished sample sets",
        hint="Wait until one of them is ready, or cancel one.",
        example="This job has 4 unfinished sets.",
        retry_after_seconds=30,
    ),
}

SERVICE_KINDS = {
    "busy": ProblemKind(
        status=503,
        title="Too many uploads are being read right now",
        hint="Try again in a moment.",
        example="All decoders are busy.",
        retry_after_seconds=5,
    ),
    "store_away": ProblemKind(
        status=503,
        title="The queue or the object store is away",
        hint="Nothing was accepted; try again in a moment. GET /readyz tells which of them it is.",
        example="Valkey or the object store does not answer.",
        retry_after_seconds=5,
    ),
    "keys_unreadable": ProblemKind(
        status=503,
        title="The service can't read its API keys",
        hint="Nothing was accepted. The gateway's log says what is wrong with the file.",
        example="The file of API keys can't be read.",
        retry_after_seconds=30,
    ),
    "store_full": ProblemKind(
        status=503,
        title="The store is full",
        hint="Nothing was accepted. Delete old jobs, or give the store more room.",
        example="There is no space left for the inputs.",
        retry_after_seconds=60,
    ),
}
