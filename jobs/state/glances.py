"""Whether records have changed: what many pollers ask at once, Valkey is asked together.

A look at one record costs a round trip, and most of that is the client's own work. While one round
is on its way, whoever asks next waits for the following one; so each sees the state as it was when
they asked, or newer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import redis.asyncio

from jobs.keys import ValkeyKeys
from jobs.record import Job, SampleSet, TaskRef
from jobs.state.codec import to_microseconds
from jobs.state.connection import valkey_errors

_FIELDS = ("version", "updated_us")


@dataclass(frozen=True)
class Glance:
    """What tells a record from every other state of it, clients' view included.

    Attributes:
        version: grows with every change.
        updated_us: when the last one was; tells a record that was restored from the one lost.
        queue_position: 1 is next; None: not queued.
    """

    version: int
    updated_us: str
    queue_position: int | None

    @classmethod
    def of(cls, record: Job | SampleSet) -> Glance:
        """What a look at it would have seen."""
        return cls(record.version, to_microseconds(record.updated_at), record.queue_position)


class Glances:
    """Looks at records for everybody in this process.

    Args:
        client: of Valkey.
        keys: where the records are.
    """

    def __init__(self, client: redis.asyncio.Redis, keys: ValkeyKeys) -> None:
        self._client, self._keys = client, keys
        self._asked: dict[TaskRef, asyncio.Future[Glance | None]] = {}
        self._rounds: asyncio.Task[None] | None = None

    async def at(self, ref: TaskRef) -> Glance | None:
        """The record's state; None: unknown or deleted. Raises ``StoreAway``."""
        answer = self._asked.get(ref)
        if answer is None:
            answer = self._asked[ref] = asyncio.get_running_loop().create_future()
            if self._rounds is None or self._rounds.done():
                self._rounds = asyncio.create_task(self._ask_on())
        return await asyncio.shield(answer)  # shared: who leaves takes nobody else's along

    async def _ask_on(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._ask(list(asked))
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
                for answer in asked.values():
                    answer.set_exception(error)
                    answer.exception()  # all who asked may have left
            else:
                for answer, glance in zip(asked.values(), found, strict=True):
                    answer.set_result(glance)

    async def _ask(self, refs: list[TaskRef]) -> list[Glance | None]:
        pipe = self._client.pipeline(transaction=False)
        for ref in refs:
            pipe.hmget(self._keys.record(ref), _FIELDS)
            pipe.zrank(self._keys.pending(ref.kind), str(ref))
        with valkey_errors():
            replies = await pipe.execute()
        return [
            _glance(fields, rank) for fields, rank in zip(replies[::2], replies[1::2], strict=True)
        ]


def _glance(fields: list[Any], rank: int | None) -> Glance | None:
    version, updated_us = fields
    if version is None:
        return None
    position = None if rank is None else rank + 1
    return Glance(int(version), cast("str", updated_us), position)
