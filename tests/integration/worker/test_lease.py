"""What a task's followers hear while the work itself is silent."""

from __future__ import annotations

import itertools
import time

from jobs.record import Kind, Phase, Progress
from worker.lease import Lease


def test_progress_is_told_every_second_though_there_is_no_news(bench) -> None:
    bench.post()
    claim = bench.store.claim(Kind.JOB)
    lease = Lease(bench.store, claim, beat_seconds=10.0)
    lease.report(
        phase=Phase.SCORING, progress=Progress(step=3, total=4, fraction=0.75, eta_seconds=60.0)
    )
    began = time.monotonic()
    while time.monotonic() - began < 3.0:
        lease.tick()
        time.sleep(0.05)

    told = [e for e in bench.store.events(claim.ref) if e.type == "progress"]
    assert len(told) >= 3
    times = [int(e.id.split("-")[0]) for e in told]
    assert max(b - a for a, b in itertools.pairwise(times)) <= 2_500
    assert {e.data["phase"] for e in told} == {"scoring"}
    assert {e.data["progress"]["step"] for e in told} == {3}
    left = [e.data["progress"]["eta_seconds"] for e in told]
    assert left == sorted(left, reverse=True)
    assert 50.0 < left[-1] < 60.0


def test_a_new_phase_does_not_inherit_the_last_ones_progress(bench) -> None:
    bench.post()
    claim = bench.store.claim(Kind.JOB)
    lease = Lease(bench.store, claim, beat_seconds=0.1)
    lease.report(phase=Phase.TRAINING, progress=Progress(step=9, total=9, fraction=1.0))
    lease.tick(now=True)
    lease.report(phase=Phase.GENERATING)
    lease.tick(now=True)
    lease.tick(now=True)

    job = bench.job(claim.ref.job_id)
    assert job.phase is Phase.GENERATING
    assert job.progress is None


def test_a_phase_that_ends_at_once_is_told_too(bench) -> None:
    bench.post()
    claim = bench.store.claim(Kind.JOB)
    lease = Lease(bench.store, claim, beat_seconds=10.0)
    for phase in (Phase.GENERATING, Phase.REFINING, Phase.SCORING):
        lease.report(phase=phase, progress=Progress(step=0, total=4, fraction=0.0))
        lease.report(phase=phase, progress=Progress(step=4, total=4, fraction=1.0))
    lease.tick(now=True)

    events = bench.store.events(claim.ref)
    assert [e.data["phase"] for e in events if e.type == "phase"] == [
        "generating",
        "refining",
        "scoring",
    ]
