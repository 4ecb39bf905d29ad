"""Many tasks, many workers, any order: the page's table holds for each, and the books balance.

Hypothesis draws the interleavings and shrinks one that fails; the scripts and the Valkey are real.
"""

from __future__ import annotations

import uuid

import hypothesis.strategies as st
import pytest
import redis
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from jobs.record import Kind, Status
from jobs.settings import Settings
from jobs.state import Claim, TaskStore
from tests.machine import Machine
from tests.state_table import BY_EVENT, EVENTS, JOBS_ONLY, Row

MAX_TASKS = 6
OWN_RULE = {"reap", "create"}
ONE_AT_A_TIME = {
    kind: sorted(set(EVENTS) - OWN_RULE - (JOBS_ONLY if kind is Kind.SET else set()))
    for kind in Kind
}


class Interleavings(RuleBasedStateMachine):
    """Some jobs and sets in one namespace; what their workers and clients do, in any order."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        super().__init__()
        # no lease and no delay runs out by itself: the same events lead to the same state
        hours = {"lease_seconds": 7_200.0, "retry_base_seconds": 3_600.0, "retry_max_seconds": 1e5}
        namespace = {"namespace": f"t{uuid.uuid4().hex[:12]}"}
        self.settings = settings.model_copy(update=namespace | hours)
        self.client = client
        self.store = TaskStore(client, self.settings)
        self.machines: list[Machine] = []
        self.old_claims: list[Claim] = []
        self.tokens: list[int] = []

    def _expected(self, machine: Machine, event: str) -> Row:
        rows = BY_EVENT[event, machine.state()]
        return next(row for row in rows if machine.holds(row.when))

    def _note(self, claim: Claim) -> None:
        token = int(claim.token)
        assert token > max(self.tokens, default=0), "tokens only grow"
        self.tokens.append(token)

    @precondition(lambda self: len(self.machines) < MAX_TASKS)
    @rule(kind=st.sampled_from(list(Kind)))
    def create(self, kind: Kind) -> None:
        machine = Machine(self.client, self.settings, kind)
        assert machine.send("create") == "created"
        self.machines.append(machine)

    @precondition(lambda self: self.machines)
    @rule(data=st.data())
    def event(self, data: st.DataObject) -> None:
        """One event of one task, by whoever has its newest claim."""
        machine = data.draw(st.sampled_from(self.machines), label="task")
        event = data.draw(st.sampled_from(ONE_AT_A_TIME[machine.kind]), label="event")
        expected, before = self._expected(machine, event), machine.claim
        answer = machine.send(event)
        assert (answer, machine.state()) == (expected.answer, expected.following), expected
        if machine.claim is not before:
            assert machine.claim is not None
            self._note(machine.claim)
            if before is not None:
                self.old_claims.append(before)

    @precondition(lambda self: self.machines)
    @rule(kind=st.sampled_from(list(Kind)))
    def claim_the_next(self, kind: Kind) -> None:
        """A worker without a message takes what has waited longest."""
        due = [m for m in self.machines if m.kind is kind and m.state() == "queued"]
        places = {str(m.ref): self._place(m) for m in due}
        claim = self.store.claim(kind)
        if not due:
            assert claim is None
            return
        assert claim is not None
        assert places[str(claim.ref)] == min(places.values())
        (machine,) = (m for m in due if m.ref == claim.ref)
        if machine.claim is not None:
            self.old_claims.append(machine.claim)
        machine.claim = claim
        self._note(claim)
        assert machine.state() == "running"

    @rule()
    def reap(self) -> None:
        """Housekeeping sees all tasks at once."""
        expected = [self._expected(machine, "reap") for machine in self.machines]
        self.client.delete(f"{self.store.keys.tag}:reaper")
        report = self.store.reap()
        for machine, row in zip(self.machines, expected, strict=True):
            lists = ("requeued", "failed", "cancelled")
            found = [name for name in lists if machine.ref in getattr(report, name)]
            assert (found or ["nothing"], machine.state()) == ([row.answer], row.following)

    @precondition(lambda self: self.old_claims)
    @rule(data=st.data())
    def a_worker_wakes_up_late(self, data: st.DataObject) -> None:
        """Its lease has gone to another: whatever it says changes nothing."""
        claim = data.draw(st.sampled_from(self.old_claims), label="claim")
        (machine,) = (m for m in self.machines if m.ref == claim.ref)
        record = self.client.hgetall(self.store.keys.record(claim.ref))
        newest, machine.claim = machine.claim, claim
        for event in ("beat", "succeed", "fail", "release", "strike"):
            assert machine.send(event) == "refused"
        machine.claim = newest
        assert self.client.hgetall(self.store.keys.record(claim.ref)) == record

    def _place(self, machine: Machine) -> float:
        score = self.client.zscore(self.store.keys.pending(machine.kind), str(machine.ref))
        assert isinstance(score, float)
        return score

    @invariant()
    def every_task_is_in_one_place(self) -> None:
        for machine in self.machines:
            expected = 0 if machine.state() in {"absent", "deleted"} else 1
            assert machine.places() == expected, machine.state()

    @invariant()
    def nothing_stands_where_no_task_is(self) -> None:
        keys, living = self.store.keys, {}
        for machine in self.machines:
            record = self.store.get(machine.ref)
            if record is not None:
                living[str(machine.ref)] = record.status
        waiting = set()
        for kind in Kind:
            waiting |= set(self.client.zrange(keys.pending(kind), 0, -1))
        leased = set(self.client.zrange(keys.leases, 0, -1))
        assert waiting == {ref for ref, status in living.items() if status is Status.QUEUED}
        held = {Status.RUNNING, Status.CANCELLING}
        assert leased == {ref for ref, status in living.items() if status in held}

    @invariant()
    def the_counts_behind_the_quotas_are_right(self) -> None:
        tag = self.store.keys.tag
        for name, kind in (("openjobs", Kind.JOB), ("opensets", Kind.SET)):
            counted = self.client.smembers(f"{tag}:{name}:")
            open_tasks = set()
            for machine in self.machines:
                record = self.store.get(machine.ref)
                if machine.kind is kind and record is not None and not record.status.terminal:
                    open_tasks.add(str(machine.ref))
            assert counted == open_tasks

    @invariant()
    def what_is_stored_is_what_is_counted(self) -> None:
        keys, stored = self.store.keys, 0
        for key in self.client.scan_iter(f"{keys.tag}:job:*"):
            job = self.store.get_job(key.rsplit(":", 1)[1])
            assert job is not None
            kept = (job.checkpoint, job.previous_checkpoint)
            stored += job.input.size_bytes + sum(one.size_bytes for one in kept if one)
            results = (one.result for one in self.store.list_sets(job.id))
            stored += sum(result.size_bytes for result in results if result)
        assert int(self.client.hget(f"{keys.tag}:bytes", "") or 0) == stored

    @invariant()
    def the_last_status_event_is_the_status(self) -> None:
        for machine in self.machines:
            record = self.store.get(machine.ref)
            if record is None:
                continue
            said = [e.data["status"] for e in self.store.events(machine.ref) if e.type == "status"]
            assert said[-1] == record.status

    def teardown(self) -> None:
        for key in self.client.scan_iter(f"{self.store.keys.tag}*"):
            self.client.delete(key)


def test_any_interleaving(client: redis.Redis, settings: Settings) -> None:
    few = hypothesis_settings(max_examples=20, stateful_step_count=30, derandomize=True)
    run_machine(lambda: Interleavings(client, settings), settings=few)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_many_interleavings(client: redis.Redis, settings: Settings) -> None:
    many = hypothesis_settings(max_examples=300, stateful_step_count=60)
    run_machine(lambda: Interleavings(client, settings), settings=many)
