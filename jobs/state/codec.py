"""A task's hash in Valkey ⇄ its record.

The hash has one field ``doc`` with what never changes, JSON as the client wrote it, and one
field for each thing that does; times are µs of the server's clock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from jobs.record import Event, Job, JobWarning, SampleSet, Task, TaskRef

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WARNINGS = TypeAdapter(list[JobWarning])

# Fields that hold JSON; both kinds of task.
_JSON_FIELDS = ("progress", "failure", "metrics")
_OF_SET = ("id", "job_id", "request", "checkpoint", "engine", "trace_context")
_JSON_OF_JOB = ("effective_config", "checkpoint", "engine")


def to_time(microseconds: str | None) -> datetime | None:
    """µs since 1970 to a UTC time."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=int(microseconds))


def to_microseconds(moment: datetime) -> str:
    """UTC time to µs since 1970, exactly."""
    return str((moment - _EPOCH) // timedelta(microseconds=1))


def _common(fields: Mapping[str, str]) -> dict[str, Any]:
    found = {name: json.loads(fields[name]) for name in _JSON_FIELDS if fields.get(name)}
    return found | {
        "owner": fields.get("owner", ""),
        "status": fields["status"],
        "phase": fields.get("phase"),
        "created_at": to_time(fields["created_us"]),
        "started_at": to_time(fields.get("started_us")),
        "finished_at": to_time(fields.get("finished_us")),
        "updated_at": to_time(fields["updated_us"]),
        "not_before": to_time(fields.get("not_before_us")),
        "version": fields["version"],
        "schema_version": fields.get("schema", 1),
        "warnings": [json.loads(line) for line in fields.get("warnings", "").splitlines()],
        "token": fields.get("token"),
        "strikes": fields.get("strikes", 0),
        "losses": fields.get("losses", 0),
        "cancel_requested": fields.get("cancel") == "1",
        "finish_requested": fields.get("finish") == "1",
    }


def decode_job(fields: Mapping[str, str], *, queue_position: int | None = None) -> Job:
    """A job's hash to its record."""
    found = {name: json.loads(fields[name]) for name in _JSON_OF_JOB if fields.get(name)}
    if fields.get("previous"):
        found["previous_checkpoint"] = json.loads(fields["previous"])
    return Job.model_validate(
        json.loads(fields["doc"])
        | _common(fields)
        | found
        | {
            "queue_position": queue_position,
            "expires_at": to_time(fields["expires_us"]),
            "trained": fields.get("trained") == "1",
            "preview_key": fields.get("preview_key"),
            "first_set_id": fields.get("first_set"),
        }
    )


def decode_set(fields: Mapping[str, str], *, queue_position: int | None = None) -> SampleSet:
    """A sample set's hash to its record."""
    return SampleSet.model_validate(
        json.loads(fields["doc"])
        | _common(fields)
        | {
            "queue_position": queue_position,
            "made_by_job": fields.get("made_by_job") == "1",
            "result": json.loads(fields["result"]) if fields.get("result") else None,
        }
    )


def decode(ref: TaskRef, fields: Mapping[str, str], position: int | None) -> Job | SampleSet:
    """A task's hash to its record."""
    decode_one = decode_job if ref.set_id is None else decode_set
    return decode_one(fields, queue_position=position)


def job_document(job_id: str, **parts: Any) -> str:
    """The part of a job that never changes, as JSON."""
    return json.dumps({"id": job_id} | parts)


def set_document(sample_set: Mapping[str, Any]) -> str:
    """The part of a sample set that never changes, as JSON."""
    return json.dumps(dict(sample_set))


def warning_lines(warnings: tuple[JobWarning, ...] | list[JobWarning]) -> str:
    """Warnings as JSON lines; equal warnings give equal lines."""
    return "\n".join(
        json.dumps(one, sort_keys=True) for one in _WARNINGS.dump_python(list(warnings))
    )


def encode(record: Job | SampleSet) -> dict[str, str]:
    """A terminal record to its hash: the inverse of ``decode``, for a rebuild."""
    data = record.model_dump(mode="json")
    return _encode_common(record, data) | (
        _encode_job(record, data) if isinstance(record, Job) else _encode_set(record, data)
    )


def _encode_common(record: Task, data: dict[str, Any]) -> dict[str, str]:
    fields = {name: json.dumps(data[name]) for name in _JSON_FIELDS if data[name]}
    times = {
        "created_us": record.created_at,
        "started_us": record.started_at,
        "finished_us": record.finished_at,
        "updated_us": record.updated_at,
    }
    fields |= {name: to_microseconds(moment) for name, moment in times.items() if moment}
    if record.token:
        fields["token"] = record.token
    return fields | {
        "owner": record.owner,
        "status": record.status,
        "version": str(record.version),
        "schema": str(record.schema_version),
        "warnings": warning_lines(record.warnings),
        "strikes": str(record.strikes),
        "losses": str(record.losses),
        "cancel": "1" if record.cancel_requested else "0",
        "finish": "1" if record.finish_requested else "0",
    }


def _encode_job(job: Job, data: dict[str, Any]) -> dict[str, str]:
    fields = {name: json.dumps(data[name]) for name in _JSON_OF_JOB if data[name]}
    if job.previous_checkpoint:
        fields["previous"] = json.dumps(data["previous_checkpoint"])
    if job.preview_key:
        fields["preview_key"] = job.preview_key
    if job.first_set_id:
        fields["first_set"] = job.first_set_id
    if job.checkpoint:
        fields["best_step"] = str(job.checkpoint.step)
    unchanging = {
        name: data[name]
        for name in ("request", "input", "classes", "plan", "request_id", "trace_context")
    }
    return fields | {
        "doc": job_document(job.id, **unchanging),
        "expires_us": to_microseconds(job.expires_at),
        "input_bytes": str(job.input.size_bytes),
        "trained": "1" if job.trained else "0",
    }


def _encode_set(sample_set: SampleSet, data: dict[str, Any]) -> dict[str, str]:
    unchanging = {name: data[name] for name in _OF_SET}
    fields = {
        "doc": set_document(unchanging),
        "made_by_job": "1" if sample_set.made_by_job else "0",
    }
    if sample_set.result:
        fields["result"] = json.dumps(data["result"])
    return fields


def decode_event(event_id: str, fields: Mapping[str, str]) -> Event:
    """A stream entry to an event."""
    return Event.model_validate(
        {"id": event_id, "type": fields["type"], "data": json.loads(fields["data"])}
    )
