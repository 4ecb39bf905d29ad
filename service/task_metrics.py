"""Prometheus metrics of all tasks, read from Valkey when Prometheus asks.

Every gateway tells the same numbers: take the ``max`` over instances, not the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from jobs.errors import JobsError
from jobs.record import Kind
from jobs.state import Census
from jobs.state.census import Happening
from jobs.state.reader import TaskReader
from service.objects_watch import ObjectsWatch

_HAPPENINGS = {
    "created": ("onepair_tasks_created", "Jobs and sets that were accepted.", ()),
    "claimed": ("onepair_tasks_claimed", "Attempts that workers have begun.", ()),
    "lost": ("onepair_tasks_lost", "Attempts that were cut off, by cause.", ("cause",)),
    "struck": ("onepair_tasks_struck", "Attempts that crashed or hung, by code.", ("code",)),
    "ended": (
        "onepair_tasks_ended",
        "Tasks that have ended, by status and the failure's code.",
        ("status", "code"),
    ),
}
# Told from the start, so that the first of them is an increase too.
_EXPECTED: dict[str, tuple[tuple[str, ...], ...]] = {
    "created": ((),),
    "claimed": ((),),
    "lost": (("lease_over",), ("released",)),
    "struck": (("worker_crashed",), ("worker_hung",), ("worker_fault",), ("disk_full",)),
    "ended": (("succeeded", ""), ("cancelled", "")),
}


class TaskMetrics(Collector):
    """Collects them anew for every scrape.

    Args:
        tasks: the state machine, by a client that doesn't wait as long as Prometheus does.
        objects: whether the object store answers.
    """

    def __init__(self, tasks: TaskReader, objects: ObjectsWatch) -> None:
        self._tasks, self._objects = tasks, objects

    def describe(self) -> Iterable[Metric]:
        """Names nothing beforehand: that would ask Valkey before it is there."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family after the other; without Valkey only that it is away."""
        up = GaugeMetricFamily(
            "onepair_store_up", "Whether a store answers the gateway.", labels=["store"]
        )
        census: Census | None = None
        try:
            census = self._tasks.census()
        except JobsError:
            up.add_metric(["valkey"], 0)
        else:
            up.add_metric(["valkey"], 1)
        up.add_metric(["objects"], float(self._objects.is_up))
        yield up
        if census is not None:
            yield from _now(census)
            yield from _ever(census)


def _now(census: Census) -> Iterator[Metric]:
    due = GaugeMetricFamily("onepair_tasks_queued", "Tasks that wait and are due.", labels=["kind"])
    delayed = GaugeMetricFamily(
        "onepair_tasks_delayed", "Tasks that wait for a later time.", labels=["kind"]
    )
    age = GaugeMetricFamily(
        "onepair_queue_age_seconds", "How long the first in line could run.", labels=["kind"]
    )
    for kind, waiting in census.waiting.items():
        due.add_metric([kind], waiting.due)
        delayed.add_metric([kind], waiting.delayed)
        age.add_metric([kind], waiting.oldest_seconds)
    running = GaugeMetricFamily(
        "onepair_tasks_running", "Tasks that a worker holds.", labels=["kind", "phase"]
    )
    for (kind, phase), count in census.running.items():
        running.add_metric([kind, phase], count)
    wanted = GaugeMetricFamily(
        "onepair_workers_wanted",
        "Tasks that are due or run: so many workers have something to do.",
        labels=["kind"],
    )
    for kind, waiting in census.waiting.items():
        held = sum(count for (of, _), count in census.running.items() if of == kind)
        wanted.add_metric([kind], waiting.due + held)
    yield from (due, delayed, age, running, wanted)
    yield GaugeMetricFamily(
        "onepair_tasks_dead", "Tasks given up after too many crashes or losses.", value=census.dead
    )
    yield GaugeMetricFamily(
        "onepair_stored_bytes", "Inputs, checkpoints, archives on record.", census.stored_bytes
    )


def _ever(census: Census) -> Iterator[Metric]:
    happened = {
        Happening(kind, what, how): 0
        for kind in Kind
        for what, hows in _EXPECTED.items()
        for how in hows
    }
    happened |= census.happened
    for what, (name, documentation, labels) in _HAPPENINGS.items():
        family = CounterMetricFamily(name, documentation, labels=["kind", *labels])
        for happening, count in happened.items():
            if happening.what == what:
                family.add_metric([happening.kind, *happening.how], count)
        yield family
