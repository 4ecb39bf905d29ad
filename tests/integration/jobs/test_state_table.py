"""docs/reliability.md drives these tests: every row, then random walks with the table as model."""

from __future__ import annotations

import random

import pytest
import redis

from jobs.record import Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Outcome, TaskStore
from tests.builders import ENGINE, checkpoint, new_job
from tests.machine import Machine, trained_job
from tests.state_table import (
    BY_EVENT,
    EVENTS,
    JOBS_ONLY,
    ROWS,
    SET_ROWS,
    STATES,
    Row,
    table_rows,
    words,
)


def test_the_table_is_complete() -> None:
    missing = [(event, state) for event in EVENTS for state in STATES if not BY_EVENT[event, state]]
    assert missing == []
    assert len({(row.event, row.state, row.when) for row in ROWS}) == len(ROWS)
    assert len(ROWS) > 150


def check(row: Row, machine: Machine) -> None:
    machine.bring_to(row.state)
    machine.make_true(row.when)
    assert machine.send(row.event) == row.answer
    assert machine.state() == row.following
    assert machine.places() == (0 if row.following in {"absent", "deleted"} else 1)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row_of_a_job(row: Row, client: redis.Redis, settings: Settings) -> None:
    machine = Machine(client, settings, Kind.JOB)
    if row.when == "" and len(BY_EVENT[row.event, row.state]) > 1 and row.state != "cancelled":
        # The general row beside 'its own end': another holder ended it, this one has an old claim.
        machine.bring_to(row.state)
        machine.claim = machine.stale()
        assert machine.send(row.event) == row.answer
        assert machine.state() == row.following
        return
    check(row, machine)


@pytest.mark.parametrize("row", [row for row in SET_ROWS if row.when != "its own end"], ids=str)
def test_row_of_a_set(row: Row, client: redis.Redis, settings: Settings) -> None:
    machine = Machine(client, settings, Kind.SET)
    if row.when == "" and len(BY_EVENT[row.event, row.state]) > 1:
        machine.bring_to(row.state)
        machine.claim = machine.stale()
        assert machine.send(row.event) == row.answer
        return
    check(row, machine)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("seed", range(6))
def test_random_walk(seed: int, kind: Kind, client: redis.Redis, settings: Settings) -> None:
    choose = random.Random(seed)
    events = EVENTS if kind is Kind.JOB else sorted(set(EVENTS) - JOBS_ONLY)
    # Ends are rare, or most of the walk would be spent dead.
    weights = [1 if event in {"delete", "cancel", "succeed", "fail"} else 8 for event in events]
    machine = Machine(client, settings, kind)
    machine.send("create")
    history = ["create"]
    for _ in range(60):
        event = choose.choices(events, weights)[0]
        state = machine.state()
        row = next(row for row in BY_EVENT[event, state] if machine.holds(row.when))
        history.append(f"{event} in {row.state} ({row.when})")
        assert machine.send(event) == row.answer, history
        assert machine.state() == row.following, history
        assert machine.places() == (0 if row.following in {"absent", "deleted"} else 1), history


# Sample sets -----------------------------------------------------------------------------------


def job_in(situation: str, store: TaskStore) -> str:
    """A job in one of the situations of the second table; its id."""
    new = new_job()
    if situation == "unknown":
        return new.id
    if situation in {"trained", "with 4 unfinished sets"}:
        trained_job(store, new)
        if situation.startswith("with"):
            for n in (1, 2, 3, 4):
                assert store.create_set(new.id, SampleSetRequest(n=n)).answer == "created"
        return new.id
    store.create_job(new)
    if situation == "deleted":
        store.delete(TaskRef(new.id))
        return new.id
    claim = store.claim(Kind.JOB, TaskRef(new.id))
    assert claim is not None
    if situation == "in training":
        store.publish_checkpoint(claim, checkpoint(new.id, 1), engine=ENGINE)
    else:
        assert situation == "ended without a checkpoint"
        store.finish(claim, Outcome(status=Status.SUCCEEDED))
    return new.id


SET_TABLE = [
    (situation, state, following, words(answer)[0])
    for _, situation, states, following, answer, _ in table_rows(6, "Event Job Set")
    for state in words(states)
]


def test_the_table_of_sets_is_complete() -> None:
    assert {state for situation, state, *_ in SET_TABLE if situation == "trained"} == set(STATES)
    assert len(SET_TABLE) == 16


@pytest.mark.parametrize(("situation", "state", "following", "answer"), SET_TABLE)
def test_row_of_creating_a_set(
    situation: str,
    state: str,
    following: str,
    answer: str,
    client: redis.Redis,
    settings: Settings,
) -> None:
    if situation == "trained":
        machine = Machine(client, settings, Kind.SET)
        machine.bring_to(state)
        assert machine.send("create") == answer
        assert machine.state() == (state if following == "=" else words(following)[0])
        return
    store = TaskStore(client, settings)
    job_id = job_in(situation, store)
    created = store.create_set(job_id, SampleSetRequest(n=5))
    assert created.answer == answer
    assert created.sample_set is None
