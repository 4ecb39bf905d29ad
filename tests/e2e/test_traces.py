"""One trace from the request to the attempt at its job, across processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.record import Phase
from jobs.settings import Settings
from jobs.tracing import to_context
from tests.collector import collecting
from tests.customer import wait_until
from tests.e2e.conftest import serving


def test_a_job_is_one_trace_from_gateway_to_worker(tmp_path: Path) -> None:
    with collecting() as collector:
        quick = {"OTEL_BSP_SCHEDULE_DELAY": "200"}
        with serving(tmp_path, ONEPAIR_TRACES_URL=collector.url, **quick) as service:
            job_id = service.post(iterations="5", n="4")
            assert service.wait_for_end(job_id)["status"] == "succeeded"
            (attempt,) = wait_until(lambda: collector.named("job attempt"))

            (posted,) = collector.named("POST /jobs")
            assert attempt.trace_id == posted.trace_id
            assert attempt.parent_id == posted.span_id
            assert (posted.service, attempt.service) == ("onepair-gateway", "onepair-worker")
            assert attempt.attributes["onepair.task"] == job_id
            assert attempt.attributes["onepair.end"] == "succeeded"
            assert attempt.attributes["onepair.request_id"]
            assert (
                attempt.attributes["onepair.request_id"] == posted.attributes["onepair.request_id"]
            )
            assert not attempt.is_error
            phases = [span.name for span in collector.spans if span.parent_id == attempt.span_id]
            assert phases == [str(phase) for phase in Phase]
            assert not [one for one in collector.spans if "/livez" in one.name]


def test_without_its_collector_the_service_works_and_stops(tmp_path: Path) -> None:
    with collecting() as collector:
        nobody = collector.url
    with serving(tmp_path, ONEPAIR_TRACES_URL=nobody) as service:
        job_id = service.post(iterations="5", n="0")
        assert service.wait_for_end(job_id)["status"] == "succeeded"
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 30


def test_a_trace_context_that_is_none_is_no_parent() -> None:
    for wrong in ("", "00-zz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        assert to_context(wrong) == {}


def test_traces_go_to_a_url_only() -> None:
    with pytest.raises(ValueError, match="traces_url"):
        Settings(traces_url="collector:4318")
