"""Reading tasks and their events. Nothing here writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import redis
import redis.asyncio

from jobs.keys import ValkeyKeys
from jobs.record import Event, Job, SampleSet, Status, TaskRef
from jobs.settings import Settings
from jobs.state.answers import Page
from jobs.state.census import Census, take_census
from jobs.state.codec import decode, decode_event, decode_job, decode_set, to_microseconds
from jobs.state.connection import MAX_BLOCK_SECONDS, valkey_errors
from jobs.state.events import START, missed, reset_event
from jobs.state.glances import Glance, Glances

_SCAN_BATCH = 100
_MAX_SCANNED = 2_000


class TaskReader:
    """The reading half of ``TaskStore``.

    Every method raises ``StoreAway`` when Valkey does not answer.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.client = client
        self.settings = settings
        self.keys = ValkeyKeys(settings.namespace)

    def ping(self) -> None:
        """Return when Valkey answers."""
        with valkey_errors():
            self.client.ping()

    def get(self, ref: TaskRef) -> Job | SampleSet | None:
        """A task's record with its queue position; None when unknown or deleted."""
        with valkey_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.hgetall(self.keys.record(ref))
            pipe.zrank(self.keys.pending(ref.kind), str(ref))
            fields, rank = pipe.execute()
        return _record(ref, fields, rank)

    def get_job(self, job_id: str) -> Job | None:
        """A job's record; None when unknown or deleted."""
        return cast("Job | None", self.get(TaskRef(job_id)))

    def get_set(self, job_id: str, set_id: str) -> SampleSet | None:
        """A sample set's record; None when unknown or deleted."""
        return cast("SampleSet | None", self.get(TaskRef(job_id, set_id)))

    def is_deleted(self, ref: TaskRef) -> bool:
        """Whether a tombstone says that it (or its job) existed: 410 rather than 404."""
        tombstones = {self.keys.tombstone(ref), self.keys.tombstone(ref.job)}
        with valkey_errors():
            return bool(self.client.exists(*tombstones))

    def list_jobs(
        self,
        *,
        owner: str | None = None,
        status: Status | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> Page:
        """Jobs, newest first.

        Args:
            owner: only this API key's; None: all.
            status: only these.
            limit: at most so many items.
            after: ``next`` of the page before.

        Returns:
            A page. With a rare ``status`` it may hold fewer than ``limit`` items and still have
            a ``next``: one call looks at 2 000 jobs at most.

        Raises:
            ValueError: ``after`` is not a cursor of ours.
        """
        index, found, scanned = self.keys.index(owner), [], 0
        cursor = None if after is None else _parse_cursor(after)
        while scanned < _MAX_SCANNED:
            batch = self._ids_after(index, cursor)
            scanned += len(batch)
            for job in self._jobs([job_id for job_id, _ in batch]):
                if status is None or job.status is status:
                    found.append(job)
                if len(found) > limit:
                    return Page(items=tuple(found[:limit]), next=_cursor(found[limit - 1]))
            if len(batch) < _SCAN_BATCH:
                return Page(items=tuple(found), next=None)
            cursor = (int(batch[-1][1]), batch[-1][0])
        assert cursor is not None
        return Page(items=tuple(found), next=f"{cursor[0]}-{cursor[1]}")

    def _ids_after(self, index: str, cursor: tuple[int, str] | None) -> list[tuple[str, float]]:
        # Equal scores come in descending order of their ids; those before the cursor are skipped.
        highest = "+inf" if cursor is None else str(cursor[0])
        start: int = 0
        batch: list[tuple[str, float]] = []
        while len(batch) < _SCAN_BATCH:
            with valkey_errors():
                rows = cast(
                    "list[tuple[str, float]]",
                    self.client.zrevrangebyscore(
                        index, highest, "-inf", start=start, num=_SCAN_BATCH, withscores=True
                    ),
                )
            start += len(rows)
            batch += [row for row in rows if cursor is None or (int(row[1]), row[0]) < cursor]
            if len(rows) < _SCAN_BATCH:
                break
        return batch[:_SCAN_BATCH]

    def _jobs(self, job_ids: list[str]) -> list[Job]:
        with valkey_errors():
            pipe = self.client.pipeline(transaction=False)
            for job_id in job_ids:
                pipe.hgetall(self.keys.record(TaskRef(job_id)))
            rows = pipe.execute()
        return [decode_job(fields) for fields in rows if fields]

    def census(self) -> Census:
        """The service in numbers."""
        return take_census(self.client, self.keys)

    def list_sets(self, job_id: str) -> list[SampleSet]:
        """A job's sample sets, newest first."""
        with valkey_errors():
            set_ids = cast("list[str]", self.client.zrevrange(self.keys.sets_of(job_id), 0, -1))
            pipe = self.client.pipeline(transaction=False)
            for set_id in set_ids:
                pipe.hgetall(self.keys.record(TaskRef(job_id, set_id)))
            rows = pipe.execute()
        return [decode_set(fields) for fields in rows if fields]

    def events(self, ref: TaskRef, after_id: str | None = None, *, count: int = 500) -> list[Event]:
        """Events after ``after_id`` (None: all that are kept), oldest first.

        The first is a ``reset`` with the whole record when the reader has missed some. An unknown
        task has none.
        """
        position, stream_key = after_id or START, self.keys.events(ref)
        with valkey_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.xinfo_stream(stream_key)
            pipe.exists(self.keys.record(ref))
            stream, exists = pipe.execute(raise_on_error=False)
        go_on = missed(position, _stream_info(stream)) if exists else None
        resets = []
        if go_on is not None:
            record = self.get(ref)
            if record is None:
                return []
            resets, position = [reset_event(go_on, record)], go_on
        with valkey_errors():
            rows = cast("list[Any]", self.client.xread({stream_key: position}, count=count))
        return resets + _events(rows)


class AsyncTaskReader:
    """What the gateway reads while a client waits: single records, events, changes.

    Every method raises ``StoreAway`` when Valkey does not answer.

    Args:
        client: for what is answered at once.
        settings: for the namespace.
        waiting: for reads that block, each on a connection of its own: so that many who wait keep
            nobody else out. None: the same client.
    """

    def __init__(
        self,
        client: redis.asyncio.Redis,
        settings: Settings,
        *,
        waiting: redis.asyncio.Redis | None = None,
    ) -> None:
        self.client = client
        self._waiting = waiting or client
        self.keys = ValkeyKeys(settings.namespace)
        self._glances = Glances(client, self.keys)

    async def glance(self, ref: TaskRef) -> Glance | None:
        """Whether a record is what it was; cheaper than ``get``. None: unknown or deleted."""
        return await self._glances.at(ref)

    async def get(self, ref: TaskRef) -> Job | SampleSet | None:
        """As ``TaskReader.get``."""
        with valkey_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.hgetall(self.keys.record(ref))
            pipe.zrank(self.keys.pending(ref.kind), str(ref))
            fields, rank = await pipe.execute()
        return _record(ref, fields, rank)

    async def owner_of(self, job_id: str) -> str | None:
        """Id of the API key that a job was made with, deleted or not; None: no such job."""
        ref = TaskRef(job_id)
        with valkey_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.hget(self.keys.record(ref), "owner")
            pipe.get(self.keys.tombstone(ref))
            living, deleted = await pipe.execute()
        return cast("str | None", deleted if living is None else living)

    async def is_deleted(self, ref: TaskRef) -> bool:
        """As ``TaskReader.is_deleted``."""
        tombstones = {self.keys.tombstone(ref), self.keys.tombstone(ref.job)}
        with valkey_errors():
            return bool(await self.client.exists(*tombstones))

    async def events(
        self,
        ref: TaskRef,
        after_id: str | None = None,
        *,
        block_seconds: float = 15.0,
        count: int = 500,
        is_following: bool = False,
    ) -> list[Event]:
        """Events after ``after_id``, waiting up to ``block_seconds`` for the first one.

        Args:
            ref: the task.
            after_id: the last one seen; None: from the first on.
            block_seconds: at most so long.
            count: at most so many.
            is_following: ``after_id`` was read a moment ago, so nothing can have been missed since,
                and half of the work can be left out.

        Returns:
            Oldest first; ``[]`` when nothing came. The first is a ``reset`` with the whole record
            when the reader has missed some.
        """
        position, stream_key = after_id or START, self.keys.events(ref)
        if not is_following:
            with valkey_errors():
                pipe = self.client.pipeline(transaction=False)
                pipe.xinfo_stream(stream_key)
                pipe.exists(self.keys.record(ref))
                stream, exists = await pipe.execute(raise_on_error=False)
            if not exists:
                return []
            go_on = missed(position, _stream_info(stream))
            if go_on is not None:
                record = await self.get(ref)
                return [] if record is None else [reset_event(go_on, record)]
        block_ms = max(1, int(min(block_seconds, MAX_BLOCK_SECONDS) * 1_000))
        with valkey_errors():
            rows = await self._waiting.xread({stream_key: position}, count=count, block=block_ms)
        return _events(cast("list[Any]", rows))

    async def wait_for_change(
        self, ref: TaskRef, version: int, *, timeout_seconds: float
    ) -> Job | SampleSet | None:
        """The record once its version differs from ``version``, else as it is at the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            with valkey_errors():
                newest = await self.client.xrevrange(self.keys.events(ref), count=1)
            record = await self.get(ref)
            left_seconds = deadline - time.monotonic()
            if record is None or record.version != version or left_seconds <= 0:
                return record
            block_ms = max(1, int(min(left_seconds, MAX_BLOCK_SECONDS) * 1_000))
            last_id = str(newest[0][0]) if newest else START
            with valkey_errors():
                await self._waiting.xread({self.keys.events(ref): last_id}, count=1, block=block_ms)


def _record(ref: TaskRef, fields: Mapping[str, str], rank: int | None) -> Job | SampleSet | None:
    if not fields:
        return None
    return decode(ref, fields, None if rank is None else rank + 1)


def _stream_info(reply: Any) -> Mapping[str, Any] | None:
    if isinstance(reply, redis.exceptions.ResponseError):  # no such key
        return None
    if isinstance(reply, Exception):
        with valkey_errors():
            raise reply
    return cast("Mapping[str, Any]", reply)


def _events(rows: list[Any]) -> list[Event]:
    return [decode_event(event_id, fields) for _, entries in rows for event_id, fields in entries]


def _cursor(job: Job) -> str:
    return f"{to_microseconds(job.created_at)}-{job.id}"


def _parse_cursor(cursor: str) -> tuple[int, str]:
    created_us, _, job_id = cursor.partition("-")
    if not (created_us.isdecimal() and len(created_us) <= 16 and job_id):
        raise ValueError(f"not a cursor of ours: {cursor[:60]!r}")
    return int(created_us), job_id
