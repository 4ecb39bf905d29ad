"""All transitions of the state machine. Each is one Lua script; see docs/reliability.md."""

from __future__ import annotations

import json

from jobs.record import Job, SampleSet, TaskRef
from jobs.state.answers import Answer, ReapReport
from jobs.state.codec import encode, to_microseconds
from jobs.state.connection import valkey_errors
from jobs.state.hooks import HookEvents
from jobs.state.requests import ClientEvents
from jobs.state.work import WorkerEvents


class TaskStore(ClientEvents, WorkerEvents, HookEvents):
    """The state machine of jobs and sample sets, its reading half, and its housekeeping.

    Safe to use from several threads. Every method raises ``StoreAway`` when Valkey does not answer
    and ``StoreFull`` when it has no room; nothing has changed then, or the repeat of the call is
    recognised.
    """

    def reap(self, *, waiting_jobs: int = 0, waiting_sets: int = 0) -> ReapReport:
        """REAP: requeue what lost its worker, say what to ring, drop what is over its retention.

        Args:
            waiting_jobs: length of the Celery list of jobs; no more are rung than are missing.
            waiting_sets: the same for sets.
        """
        done = json.loads(self._run("reap", str(waiting_jobs), str(waiting_sets)))
        lists = {
            name: tuple(TaskRef.parse(ref) for ref in refs)
            for name, refs in done.items()
            if name != "busy"
        }
        return ReapReport(busy=bool(done["busy"]), **lists)

    def swept(self, ref: TaskRef) -> None:
        """SWEPT: a deleted task's objects are gone; a set may be asked for again."""
        self._run("swept", str(ref))

    def kept(self, record: Job | SampleSet) -> None:
        """KEPT: this terminal record is in the object store, and its leftovers are gone."""
        self._run("kept", str(record.ref), str(record.version))

    def begin_orphan_sweep(self) -> bool:
        """Whether a sweep of orphans is due; true for one caller in ``sweep_seconds``."""
        period_ms = max(1, round(self.settings.sweep_seconds * 1e3))
        with valkey_errors():
            return bool(self.client.set(self.keys.orphan_sweep, "1", nx=True, px=period_ms))

    def abandon_orphan_sweep(self) -> None:
        """The begun sweep was cut off: it is due again."""
        with valkey_errors():
            self.client.delete(self.keys.orphan_sweep)

    def restore(self, record: Job | SampleSet) -> bool:
        """RESTORE a terminal record after a total loss of Valkey; False when it is there already.

        Raises:
            ValueError: the record is not terminal.
        """
        if not record.status.terminal:
            raise ValueError(f"only terminal records are restored, not {record.status}")
        pairs = [part for pair in encode(record).items() for part in pair]
        expires, checkpoint_key = "", ""
        if isinstance(record, Job):
            expires = to_microseconds(record.expires_at)
        else:
            checkpoint_key = record.checkpoint.key
        created = to_microseconds(record.created_at)
        (answer,) = self._run(
            "restore", str(record.ref), record.owner, created, expires, checkpoint_key, *pairs
        )
        return bool(answer == Answer.CREATED)
