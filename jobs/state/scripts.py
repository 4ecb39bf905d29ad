"""The scripts, loaded once and run with the settings' limits and the server's clock."""

from __future__ import annotations

import json
from typing import Any

import redis

from jobs import keys as object_keys
from jobs.lua import script
from jobs.record import RECORD_SCHEMA, Checkpoint, Engine, SampleSetRequest
from jobs.settings import Settings
from jobs.state.codec import set_document
from jobs.state.connection import valkey_errors
from jobs.state.reader import TaskReader

_SCRIPTS = (
    "create", "create_set", "claim", "beat", "publish", "adopt", "finish", "release", "strike",
    "cancel", "finish_request", "delete", "reap", "swept", "kept", "restore",
    "hooks_due", "hook_told",
)  # fmt: skip


class ScriptedStore(TaskReader):
    """A reader that can also run the scripts: the base of ``TaskStore``."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__(client, settings)
        self._scripts = {name: client.register_script(script(name)) for name in _SCRIPTS}
        self._limits = script_limits(settings)

    def _run(self, name: str, *arguments: str) -> Any:
        with valkey_errors():
            return self._scripts[name](keys=[self.keys.tag], args=[self._limits, *arguments])


def script_limits(settings: Settings) -> str:
    """What scripts need to know of us: the settings, in µs (``_us``) or ms (``_ms``), as JSON."""
    seconds_us = {
        "lease_us": settings.lease_seconds,
        "retry_base_us": settings.retry_base_seconds,
        "retry_max_us": settings.retry_max_seconds,
        "ring_again_us": settings.ring_again_seconds,
        "retention_us": settings.retention_days * 86_400,
    }
    seconds_ms = {
        "tombstone_ms": settings.tombstone_seconds,
        "idempotency_ms": settings.idempotency_seconds,
        "events_after_end_ms": settings.events_after_end_seconds,
        "reap_lock_ms": settings.reap_lock_seconds,
    }
    limits = {name: round(seconds * 1e6) for name, seconds in seconds_us.items()}
    limits |= {name: max(1, round(seconds * 1e3)) for name, seconds in seconds_ms.items()}
    names = ("max_strikes", "max_losses", "events_kept", "max_sets_per_job", "max_sets_per_key",
             "max_jobs_per_key", "max_kept_jobs_per_key", "max_bytes_per_key")  # fmt: skip
    limits |= {name: getattr(settings, name) for name in names}
    return json.dumps(limits | {"schema": RECORD_SCHEMA})


def name_set(
    job_id: str,
    checkpoint: Checkpoint,
    request: SampleSetRequest,
    engine: Engine,
    *,
    trace_context: str = "",
) -> tuple[str, str]:
    """A sample set's id, and the part of its record that never changes."""
    set_id = object_keys.sample_set_id(job_id, checkpoint, request, engine)
    document = {
        "id": set_id,
        "job_id": job_id,
        "request": request.model_dump(mode="json"),
        "checkpoint": checkpoint.model_dump(mode="json"),
        "engine": engine.model_dump(mode="json"),
        "trace_context": trace_context,
    }
    return set_id, set_document(document)
