"""What Prometheus is told of a worker, after it has really worked."""

from __future__ import annotations

import socket
from collections.abc import Callable

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from jobs.objects import ObjectInfo
from jobs.record import Job, Status, TaskRef
from tests.integration.worker.test_attempts import AwayForAWhile

Run = Callable[[str], Job]


def scraped(supervisor) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Over HTTP, as Prometheus does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    supervisor._shop.metrics.serve("127.0.0.1", port)
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples, name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def test_attempts_phases_samples_and_the_store(bench) -> None:
    supervisor = bench.supervisor()
    supervisor.run(TaskRef(bench.post(n=7)))
    crashing = bench.post(trouble=bench.trouble("crash"), trouble_at=5)
    supervisor.run(TaskRef(crashing))
    supervisor.stop()
    supervisor.join(10)

    samples = scraped(supervisor)

    assert of(samples, "onepair_worker_attempts_total", kind="job", end="struck") == 1
    assert (of(samples, "onepair_worker_attempts_total", kind="job", end="succeeded") or 0) >= 1
    assert of(samples, "onepair_worker_busy", kind="job") == 0
    assert of(samples, "onepair_worker_steps_per_second") == 0
    assert (of(samples, "onepair_worker_phase_seconds_count", phase="training") or 0) >= 2
    assert (of(samples, "onepair_worker_phase_seconds_count", phase="scoring") or 0) >= 1
    assert (of(samples, "onepair_worker_samples_total", verdict="kept") or 0) >= 7
    assert (of(samples, "onepair_worker_store_seconds_count", operation="put") or 0) > 3
    assert (of(samples, "onepair_worker_store_seconds_count", operation="get") or 0) > 3
    assert of(samples, "onepair_worker_store_failures_total") == 0


def test_a_store_that_is_away_is_counted(bench) -> None:
    away = AwayForAWhile(bench.settings.data_dir / "objects")
    supervisor = bench.supervisor(away)
    job_id = bench.post(n=None)
    supervisor.run(TaskRef(job_id))
    supervisor.stop()
    supervisor.join(10)

    assert bench.job(job_id).status is Status.SUCCEEDED
    assert isinstance(away.head(bench.job(job_id).checkpoint.key), ObjectInfo)
    assert (of(scraped(supervisor), "onepair_worker_store_failures_total") or 0) > 0
