"""A test's view of the state machine: bring a task into a state, send it an event, look at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import redis

from jobs.keys import ValkeyKeys
from jobs.record import Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, Claim, NewJob, Outcome, TaskStore
from tests.builders import ENGINE, FAILURE, checkpoint, new_job, set_result

OLD_TOKEN = "1"


class Machine:
    """One task, a job or a sample set, and the claim that its worker holds or held."""

    def __init__(self, client: redis.Redis, settings: Settings, kind: Kind) -> None:
        self.client = client
        self.keys = ValkeyKeys(settings.namespace)
        self.store = TaskStore(client, settings)
        self.kind = kind
        self.new: NewJob = new_job()
        self.step = 0
        self.claim: Claim | None = None
        self.ref = TaskRef(self.new.id)
        if kind is Kind.SET:
            trained_job(self.store, self.new)
            created = self.store.create_set(self.new.id, SampleSetRequest(n=5)).sample_set
            assert created is not None
            self.ref = created.ref
            self._forget()

    def _forget(self) -> None:
        """Make the set unknown again: no tombstone, no record."""
        self.store.delete(self.ref)
        self.store.swept(self.ref)

    # Looking ----------------------------------------------------------------------------------

    def state(self) -> str:
        """The state's name in docs/reliability.md."""
        record = self.store.get(self.ref)
        if record is None:
            return "deleted" if self.store.is_deleted(self.ref) else "absent"
        if record.status is Status.QUEUED:
            assert record.not_before is not None
            return "delayed" if record.not_before.timestamp() > time.time() else "queued"
        if record.status.terminal:
            return record.status
        lease_us = self.client.zscore(self.keys.leases, str(self.ref))
        assert isinstance(lease_us, float)
        lapsed = lease_us / 1e6 < time.time()
        if record.status is Status.CANCELLING:
            return "cancelling-lapsed" if lapsed else "cancelling"
        return "lapsed" if lapsed else "running"

    def places(self) -> int:
        """In how many of pending, leases and terminal it is."""
        record = self.store.get(self.ref)
        pending = self.client.zscore(self.keys.pending(self.kind), str(self.ref)) is not None
        leased = self.client.zscore(self.keys.leases, str(self.ref)) is not None
        return pending + leased + (record is not None and record.status.terminal)

    def holds(self, when: str) -> bool:
        """Whether a condition of the table's *When* column is true."""
        fields = self.client.hgetall(self.keys.record(self.ref))
        assert isinstance(fields, dict)
        losses, strikes = int(fields.get("losses", 0)), int(fields.get("strikes", 0))
        ended_by = fields.get("finished_token")
        settings = self.store.settings
        conditions = {
            "": True,
            "first loss": losses == 0,
            "later loss": 0 < losses < settings.max_losses - 1,
            "last loss": losses == settings.max_losses - 1,
            "strikes left": strikes < settings.max_strikes - 1,
            "last strike": strikes == settings.max_strikes - 1,
            "learned": "checkpoint" in fields,
            "nothing learned": "checkpoint" not in fields,
            "its own end": self.claim is not None and ended_by == self.claim.token,
        }
        return conditions[when]

    # Bringing about ---------------------------------------------------------------------------

    def bring_to(self, state: str) -> None:
        """Go from absent to a state by the events that lead there."""
        paths = {
            "absent": (),
            "queued": ("create",),
            "delayed": ("create", "claim", "strike"),
            "running": ("create", "claim"),
            "lapsed": ("create", "claim", "lease-over"),
            "cancelling": ("create", "claim", "cancel"),
            "cancelling-lapsed": ("create", "claim", "cancel", "lease-over"),
            "succeeded": ("create", "claim", "succeed"),
            "failed": ("create", "claim", "fail"),
            "cancelled": ("create", "cancel"),
            "deleted": ("create", "delete"),
        }
        for event in paths[state]:
            self.send(event)
        assert self.state() == state

    def make_true(self, when: str) -> None:
        """Bring a condition about; the counters are set by hand."""
        settings = self.store.settings
        counters = {
            "later loss": ("losses", 1),
            "last loss": ("losses", settings.max_losses - 1),
            "last strike": ("strikes", settings.max_strikes - 1),
        }
        if when in counters:
            name, value = counters[when]
            self.client.hset(self.keys.record(self.ref), name, str(value))
        elif when == "learned":
            known = checkpoint(self.ref.job_id, 1).model_dump_json()
            self.client.hset(self.keys.record(self.ref), "checkpoint", known)
        elif when == "its own end" and not self.holds(when):  # cancelled: by its own success
            self.new = new_job()
            self.ref = TaskRef(self.new.id)
            for event in ("create", "claim", "cancel", "succeed"):
                self.send(event)
        assert self.holds(when)

    # Sending ----------------------------------------------------------------------------------

    def send(self, event: str) -> str:
        """Send an event; its answer."""
        events: dict[str, Callable[[], str]] = {
            "create": self._create,
            "claim": self._claim,
            "beat": lambda: self._beat(self.current),
            "publish": lambda: self._publish(self.current),
            "succeed": lambda: self._finish(self.current, Status.SUCCEEDED),
            "fail": lambda: self._finish(self.current, Status.FAILED),
            "release": lambda: self.store.release(self.current),
            "strike": lambda: self.store.strike(self.current, FAILURE),
            "old-token": self._old_token,
            "cancel": lambda: self.store.request_cancel(self.ref),
            "ask-to-finish": lambda: self.store.request_finish(self.ref.job_id),
            "delete": lambda: self.store.delete(self.ref),
            "reap": self._reap,
            "lease-over": self._lease_over,
            "delay-over": self._delay_over,
        }
        return str(events[event]())

    @property
    def current(self) -> Claim:
        """The worker's claim; one with a foreign token when there was none."""
        return self.claim or self.stale()

    def stale(self) -> Claim:
        """A claim whose token is not the current one."""
        job = self.store.create_job(new_job()).job
        assert job is not None
        self.store.delete(job.ref)
        return Claim(ref=self.ref, token=OLD_TOKEN, lease_seconds=60, job=job)

    def _create(self) -> str:
        if self.kind is Kind.JOB:
            return self.store.create_job(self.new).answer
        return self.store.create_set(self.ref.job_id, SampleSetRequest(n=5)).answer

    def _claim(self) -> str:
        answer = self.store.try_claim(self.kind, self.ref)
        self.claim = answer.claim or self.claim
        return answer.answer

    def _beat(self, claim: Claim) -> str:
        answer = self.store.beat(claim)
        record = self.store.get(self.ref)
        assert answer.cancel == (
            not answer.refused and record is not None and record.cancel_requested
        )
        return "refused" if answer.refused else "ok"

    def _publish(self, claim: Claim) -> str:
        self.step += 1
        made = checkpoint(self.ref.job_id, self.step)
        return (
            "refused" if self.store.publish_checkpoint(claim, made, engine=ENGINE).refused else "ok"
        )

    def _finish(self, claim: Claim, status: Status) -> Answer:
        if status is Status.FAILED:
            return self.store.finish(claim, Outcome(status=Status.FAILED, failure=FAILURE))
        result = set_result(claim.prefix) if self.kind is Kind.SET else None
        return self.store.finish(claim, Outcome(status=Status.SUCCEEDED, result=result))

    def _old_token(self) -> str:
        stale = replace(self.stale(), ref=self.ref)
        before = self.client.hgetall(self.keys.record(self.ref))
        answers = {
            self._beat_stale(stale),
            self._finish(stale, Status.SUCCEEDED),
            self._finish(stale, Status.FAILED),
            self.store.release(stale),
            self.store.strike(stale, FAILURE),
        }
        if self.kind is Kind.JOB:
            answers.add(self._publish(stale))
            assert self.store.adopt_first_set(stale) is None
        assert self.client.hgetall(self.keys.record(self.ref)) == before
        assert len(answers) == 1
        return answers.pop()

    def _beat_stale(self, stale: Claim) -> str:
        return "refused" if self.store.beat(stale).refused else "ok"

    def _reap(self) -> str:
        self.client.delete(f"{self.keys.tag}:reaper")
        report = self.store.reap()
        assert not report.busy
        lists = ("requeued", "failed", "cancelled")
        found = [name for name in lists if self.ref in getattr(report, name)]
        return found[0] if found else "nothing"

    def _lease_over(self) -> str:
        self.client.zadd(self.keys.leases, {str(self.ref): 1}, xx=True)
        return "nothing"

    def _delay_over(self) -> str:
        if self.state() == "delayed":
            self.client.zadd(self.keys.pending(self.kind), {str(self.ref): 1}, xx=True)
            self.client.hset(self.keys.record(self.ref), "not_before_us", "1")
        return "nothing"


def trained_job(store: TaskStore, new: NewJob) -> Claim:
    """A job that has succeeded with a final checkpoint and without its first set."""
    assert store.create_job(new).answer is Answer.CREATED
    claim = store.claim(Kind.JOB, TaskRef(new.id))
    assert claim is not None
    final = checkpoint(new.id, 100, final=True)
    assert not store.publish_checkpoint(claim, final, engine=ENGINE).refused
    assert store.finish(claim, Outcome(status=Status.SUCCEEDED)) is Answer.OK
    return claim
