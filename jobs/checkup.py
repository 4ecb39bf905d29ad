"""Is what jobs rely on as it has to be? Looks at a real Valkey and a real object store.

Findings are for people: what is wrong is said with what to do about it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from jobs.errors import JobsError
from jobs.objects.base import ObjectStore
from jobs.record import Kind
from jobs.state import TaskStore
from jobs.state.connection import valkey_errors

OLDEST_VALKEY = 7
MOST_SKEW_SECONDS = 2.0
NOBODY_WORKS_SECONDS = 600.0
_PROBE_PREFIX = "doctor/"


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        verdict: how it is.
        detail: what was found.
        hint: what to do about it; empty when nothing has to be done.
    """

    name: str
    verdict: Verdict
    detail: str
    hint: str = ""


def look_at_valkey(client: redis.Redis) -> Iterator[Finding]:
    """Version, persistence, limits and clock of the server that holds the state of all tasks."""
    try:
        with valkey_errors():
            began = time.time()
            seconds, microseconds = client.time()
            asked = (began + time.time()) / 2
            info: dict[str, Any] = client.info()
    except JobsError as error:
        yield Finding("Valkey", Verdict.BAD, str(error), "Start it, or mend ONEPAIR_VALKEY_URL.")
        return
    yield _version(info)
    yield from _persistence(client, info)
    yield _clock("Valkey's clock", seconds + microseconds / 1e6 - asked)


def _version(info: dict[str, Any]) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = str(info.get("valkey_version") or info["redis_version"])
    if int(version.split(".", maxsplit=1)[0]) < OLDEST_VALKEY:
        hint = f"Use Valkey, or Redis {OLDEST_VALKEY} or newer: older ones don't know our scripts."
        return Finding(name, Verdict.BAD, version, hint)
    return Finding(name, Verdict.OK, version)


def _persistence(client: redis.Redis, info: dict[str, Any]) -> Iterator[Finding]:
    wanted = {
        "appendonly": ("yes", Verdict.BAD, "Without it a restart forgets every job."),
        "appendfsync": ("always", Verdict.WARN, "A crash may forget the last second of answers."),
        "maxmemory-policy": ("noeviction", Verdict.BAD, "At its limit it would drop jobs."),
    }
    for name, (value, verdict, hint) in wanted.items():
        try:
            found = str(client.config_get(name).get(name, "unknown"))
        except redis.exceptions.ResponseError:
            yield Finding(name, Verdict.WARN, "can't be asked", f"See that it is {value}.")
            continue
        if found == value:
            yield Finding(name, Verdict.OK, found)
        else:
            yield Finding(name, verdict, found, f"{hint} Set {name} to {value}.")
    if info.get("aof_last_write_status", "ok") != "ok":
        yield Finding("append-only file", Verdict.BAD, "can't be written", "Is its disk full?")
    limit, used = int(info.get("maxmemory", 0)), int(info["used_memory"])
    if not limit:
        hint = "Set maxmemory: else the machine's memory is the limit, and the kernel decides."
        yield Finding("memory", Verdict.WARN, "no limit", hint)
    else:
        share = used / limit
        verdict = Verdict.OK if share < 0.8 else Verdict.WARN
        hint = "" if verdict is Verdict.OK else "At the limit new jobs get 503: raise maxmemory."
        yield Finding("memory", verdict, f"{share:.0%} of {limit / 1e6:.0f} MB", hint)


def _clock(name: str, ahead_seconds: float) -> Finding:
    detail = f"{abs(ahead_seconds):.1f} s {'ahead of' if ahead_seconds > 0 else 'behind'} ours"
    if abs(ahead_seconds) <= MOST_SKEW_SECONDS:
        return Finding(name, Verdict.OK, detail)
    return Finding(name, Verdict.WARN, detail, "Let both follow the same time server.")


def look_at_objects(objects: ObjectStore) -> Iterator[Finding]:
    """Everything that jobs do with the store, done once with a small object that goes again."""
    prefix = f"{_PROBE_PREFIX}{uuid.uuid4().hex}/"
    key, data = f"{prefix}probe", b"onepair doctor"
    step = "write"
    try:
        began = time.time()
        stored = objects.put_bytes(key, data)
        # Stores tell whole seconds, and a first write may take some.
        told, ended = stored.modified_at.timestamp(), time.time()
        clock_ahead = min(0.0, told + 1 - began) + max(0.0, told - ended)
        step = "read"
        is_same = objects.get_bytes(key) == data
        step = "list"
        is_listed = [info.key for info in objects.list(prefix)] == [key]
        step = "create once"
        is_refused = not objects.put_if_absent(key, b"another")
        step = "delete"
        objects.delete(key)
        is_gone = objects.head(key) is None
    except JobsError as error:
        hint = "Look at ONEPAIR_S3_*; the key there has to read, write, list and delete."
        yield Finding("object store", Verdict.BAD, f"can't {step}: {error}", hint)
        return
    done = {"read": is_same, "list": is_listed, "create once": is_refused, "delete": is_gone}
    failed = [name for name, worked in done.items() if not worked]
    if failed:
        hint = "It answers, and does something else; `create once` is S3's If-None-Match: *."
        yield Finding("object store", Verdict.BAD, f"wrong: {', '.join(failed)}", hint)
    else:
        yield Finding("object store", Verdict.OK, "writes, reads, lists, creates once, deletes")
    yield _clock("object store's clock", clock_ahead)


def look_at_tasks(store: TaskStore) -> Iterator[Finding]:
    """Does anybody work, and was anything given up?"""
    try:
        census = store.census()
    except JobsError:
        return  # said already
    for kind in Kind:
        waiting = census.waiting[kind]
        working = sum(count for (of, _), count in census.running.items() if of is kind)
        detail = f"{working} running, {waiting.due + waiting.delayed} waiting"
        if waiting.oldest_seconds > NOBODY_WORKS_SECONDS and not working:
            hint = f"Is a worker running for the queue {kind}s? Its log tells."
            yield Finding(f"{kind}s", Verdict.BAD, f"{detail}, and nobody takes them", hint)
        else:
            yield Finding(f"{kind}s", Verdict.OK, detail)
    if census.dead:
        hint = "Their failures and logs say why: GET /jobs?status=failed."
        yield Finding("given up", Verdict.WARN, f"{census.dead} tasks, ever", hint)
