"""Ids, object-store keys and Valkey keys: the only place where they are spelled."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

from jobs.errors import InvalidKey
from jobs.record import Checkpoint, Engine, Kind, SampleSetRequest, TaskRef

JOBS_PREFIX = "jobs/"
MAX_KEY_LENGTH = 512
_SEGMENT = r"[a-z0-9_][a-z0-9_.-]*"
_OBJECT_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_SET_ID = re.compile(r"[0-9a-f]{64}")


def new_job_id() -> str:
    """A fresh job id: 32 hexadecimal digits, random."""
    return uuid.uuid4().hex


def is_job_id(text: str) -> bool:
    """Whether ``text`` has the form of a job id (say 404 without asking the store if not)."""
    return _JOB_ID.fullmatch(text) is not None


def is_set_id(text: str) -> bool:
    """Whether ``text`` has the form of a sample-set id."""
    return _SET_ID.fullmatch(text) is not None


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def sample_set_id(
    job_id: str, checkpoint: Checkpoint, request: SampleSetRequest, engine: Engine
) -> str:
    """SHA-256 of everything that determines the set; the download format is no part of it."""
    named = {
        "job": job_id,
        "checkpoint": checkpoint.sha256,
        "n": request.n,
        "reject_fraction": request.reject_fraction,
        "seed": request.seed,
        "refine": request.refine,
        "screen": request.screen,
        "scoring_network": engine.scoring_network,
        "scoring_weights": engine.scoring_weights_sha256,
        "core_version": engine.core_version,
    }
    return hashlib.sha256(canonical_json(named).encode()).hexdigest()


def request_fingerprint(image_sha256: str, mask_sha256: str | None, fields: dict[str, Any]) -> str:
    """What an idempotency key stands for: the uploads' hashes and the canonical fields."""
    body = {"image": image_sha256, "mask": mask_sha256, "fields": fields}
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()


def idempotency_digest(owner: str, key: str) -> str:
    """Hash of API key id and Idempotency-Key (the unit separator keeps them apart)."""
    return hashlib.sha256(f"{owner}\x1f{key}".encode()).hexdigest()


# Object keys ---------------------------------------------------------------------------------


def check_object_key(key: str) -> str:
    """Return ``key`` if it is one of ours.

    Raises:
        InvalidKey: for traversal, absolute paths, empty segments or foreign characters.
    """
    if len(key) > MAX_KEY_LENGTH or _OBJECT_KEY.fullmatch(key) is None:
        raise InvalidKey(f"not an object key: {key[:80]!r}")
    return key


def check_object_prefix(prefix: str) -> str:
    """Return ``prefix`` if it is whole segments and ends in a slash.

    Raises:
        InvalidKey: otherwise; so no deletion can reach beyond its own folder.
    """
    if not prefix.endswith("/"):
        raise InvalidKey(f"an object prefix ends in '/': {prefix[:80]!r}")
    check_object_key(prefix[:-1])
    return prefix


def task_prefix(ref: TaskRef) -> str:
    """``jobs/<id>/`` or ``jobs/<id>/sets/<set>/``: everything a task has stored."""
    if ref.set_id is None:
        return f"{JOBS_PREFIX}{ref.job_id}/"
    return f"{JOBS_PREFIX}{ref.job_id}/sets/{ref.set_id}/"


def attempt_prefix(ref: TaskRef, token: str) -> str:
    """``…/a<token>/``: what one claim writes; never overwritten by another."""
    return f"{task_prefix(ref)}a{token}/"


def input_key(job_id: str, name: str) -> str:
    """Key of an input file: ``name`` is image.png, mask.png or pair.json."""
    return f"{task_prefix(TaskRef(job_id))}input/{name}"


def record_key(ref: TaskRef) -> str:
    """Where a terminal record is kept, for a rebuild after a total loss of Valkey."""
    return f"{task_prefix(ref)}record.json"


def result_key(ref: TaskRef) -> str:
    """Written once (If-None-Match) before FINISH: the backstop against two results."""
    return f"{task_prefix(ref)}result.json"


# Valkey keys ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ValkeyKeys:
    """Keys of one namespace. All share one hash tag, so scripts run on a cluster too.

    ``jobs/lua/prelude.lua`` builds the same names from ``tag``.
    """

    namespace: str = "osmis"

    @property
    def tag(self) -> str:
        """The hash tag, ``{osmis}``."""
        return "{" + self.namespace + "}"

    def record(self, ref: TaskRef) -> str:
        """Hash of a task."""
        if ref.set_id is None:
            return f"{self.tag}:job:{ref.job_id}"
        return f"{self.tag}:set:{ref.job_id}:{ref.set_id}"

    def events(self, ref: TaskRef) -> str:
        """Stream of a task's events."""
        return f"{self.tag}:ev:{ref}"

    def pending(self, kind: Kind) -> str:
        """Zset of waiting tasks; score: not before, µs."""
        return f"{self.tag}:pending:{kind}"

    def sets_of(self, job_id: str) -> str:
        """Zset of a job's set ids; score: created, µs."""
        return f"{self.tag}:sets:{job_id}"

    def index(self, owner: str | None) -> str:
        """Zset of job ids, all or one owner's; score: created, µs."""
        return f"{self.tag}:all" if owner is None else f"{self.tag}:own:{owner}"

    def idempotency(self, digest: str) -> str:
        """Hash {job, fingerprint} of one Idempotency-Key."""
        return f"{self.tag}:idem:{digest}"

    def tombstone(self, ref: TaskRef) -> str:
        """Exists while a deleted id must stay refused."""
        return f"{self.tag}:tomb:{ref}"

    @property
    def leases(self) -> str:
        """Zset of running tasks; score: lease end, µs."""
        return f"{self.tag}:leases"

    @property
    def orphan_sweep(self) -> str:
        """Exists from the begin of a sweep of orphans until the next one is due."""
        return f"{self.tag}:orphan_sweep"

    @property
    def keys_used(self) -> str:
        """Hash of API key ids: when each was last used."""
        return f"{self.tag}:keys_used"

    @property
    def unkept(self) -> str:
        """Zset of ended tasks whose records the object store may not have yet; score: µs."""
        return f"{self.tag}:unkept"

    @property
    def tally(self) -> str:
        """Hash of counts that only grow: what has happened how often, ``job:ended:failed:code``."""
        return f"{self.tag}:tally"

    @property
    def stored_bytes(self) -> str:
        """Hash of API key ids: bytes that their jobs have stored."""
        return f"{self.tag}:bytes"

    @property
    def dead(self) -> str:
        """List of tasks given up after too many strikes or losses."""
        return f"{self.tag}:dead"
