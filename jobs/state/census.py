"""The service in numbers: what waits, what runs, and what has happened how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from jobs.keys import ValkeyKeys
from jobs.record import Kind, Status, TaskRef
from jobs.state.connection import valkey_errors

MOST_LOOKED_AT = 5_000
"""Running tasks whose phase is asked for; there are as many as workers."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A queue of one kind of task.

    Attributes:
        due: that could be claimed now.
        delayed: that wait for a later time, after a crash.
        oldest_seconds: since the first of the due ones could have been claimed; 0: there is none.
    """

    due: int
    delayed: int
    oldest_seconds: float


@dataclass(frozen=True)
class Happening:
    """One kind of thing that is counted.

    Attributes:
        kind: of task.
        what: ``created``, ``claimed``, ``ended``, ``lost`` or ``struck``.
        how: a lost one's cause (``lease_over``, ``released``); a status, and the failure's code;
            a strike's code.
    """

    kind: Kind
    what: str
    how: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Census:
    """All of it at one moment.

    Attributes:
        waiting: by kind.
        running: by kind and phase; the phase is empty before the first report.
        dead: given up after too many strikes or losses, ever.
        stored_bytes: inputs, checkpoints and archives on record.
        happened: how often, since the data folder was made.
    """

    waiting: Mapping[Kind, Waiting]
    running: Mapping[tuple[Kind, str], int]
    dead: int
    stored_bytes: int
    happened: Mapping[Happening, int]


def take_census(client: redis.Redis, keys: ValkeyKeys) -> Census:
    """Counts; writes nothing. Raises ``StoreAway``."""
    with valkey_errors():
        now_us = _server_time(client)
        pipe = client.pipeline(transaction=False)
        for kind in Kind:
            pipe.zcount(keys.pending(kind), "-inf", now_us)
            pipe.zcard(keys.pending(kind))
            pipe.zrange(keys.pending(kind), 0, 0)
        pipe.zrange(keys.leases, 0, MOST_LOOKED_AT - 1)
        pipe.llen(keys.dead)
        pipe.hvals(keys.stored_bytes)
        pipe.hgetall(keys.tally)
        *queues, leased, dead, stored, tally = pipe.execute()
        running = _running(client, keys, [TaskRef.parse(ref) for ref in leased])
        heads = {kind: queues[3 * place + 2] for place, kind in enumerate(Kind)}
        since_us = {kind: _due_since(client, keys, head) for kind, head in heads.items()}
    waiting = {}
    for place, kind in enumerate(Kind):
        due, total = queues[3 * place : 3 * place + 2]
        age = (now_us - since_us[kind]) / 1e6 if due else 0.0
        waiting[kind] = Waiting(due=due, delayed=total - due, oldest_seconds=max(0.0, age))
    return Census(
        waiting=waiting,
        running=running,
        dead=dead,
        stored_bytes=sum(map(int, stored)),
        happened={_happening(name): int(count) for name, count in tally.items()},
    )


def _server_time(client: redis.Redis) -> int:
    seconds, microseconds = client.time()
    return seconds * 1_000_000 + microseconds


def _due_since(client: redis.Redis, keys: ValkeyKeys, head: list[str]) -> int:
    """µs: since then the first in line could run. Its place is by age, which is another thing."""
    found = client.hget(keys.record(TaskRef.parse(head[0])), "not_before_us") if head else None
    return int(str(found or 0))


def _running(
    client: redis.Redis, keys: ValkeyKeys, refs: list[TaskRef]
) -> Counter[tuple[Kind, str]]:
    pipe = client.pipeline(transaction=False)
    for ref in refs:
        pipe.hmget(keys.record(ref), "status", "phase")
    found: Counter[tuple[Kind, str]] = Counter()
    states: list[Any] = pipe.execute()
    for ref, (status, phase) in zip(refs, states, strict=True):
        if status in {Status.RUNNING, Status.CANCELLING}:
            found[ref.kind, phase or ""] += 1
    return found


def _happening(name: str) -> Happening:
    kind, what, *how = name.split(":")
    return Happening(Kind(kind), what, tuple(how))
