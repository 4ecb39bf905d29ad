"""Polls, event streams and uploads at once, and the same polls on the bare route beside them."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.load.client import Answers, Connection, at_a_rate, get
from bench.load.servers import Servers, started
from bench.measurement import ROOT, report
from jobs.record import Kind, Phase, Progress
from jobs.state import BeatReport

STREAMS = 200
POLLS_PER_SECOND = 500.0
POLLING_CONNECTIONS = 50
UPLOADS_PER_SECOND = 1.0
RUNNING_JOBS = 20
SECONDS = 20.0


def measure_together(folder: Path) -> None:
    """Everything at once for a while, then the polls alone on the bare route."""
    with started(folder, jobs=RUNNING_JOBS) as servers:
        polls = [get(f"/jobs/{job_id}") for job_id in servers.job_ids]
        with _progress(servers):
            answers, uploads, events = asyncio.run(_everything(servers, polls))
        bare = asyncio.run(
            at_a_rate(
                servers.bare_port,
                polls,
                per_second=POLLS_PER_SECOND,
                connections=POLLING_CONNECTIONS,
                seconds=SECONDS,
            )
        )
    polls_ms, bare_ms = (
        f"p50 {one.percentile_ms(50):.1f} ms, p99 {one.percentile_ms(99):.1f} ms"
        for one in (answers, bare)
    )
    report(
        f"{STREAMS} event streams, {POLLS_PER_SECOND:.0f} polls, {UPLOADS_PER_SECOND:.0f} upload a "
        f"second: polls {polls_ms} (on the bare route alone: {bare_ms}); uploads p50 "
        f"{uploads.percentile_ms(50):.0f} ms; {events} events told; errors: "
        f"{answers.errors} polls, {uploads.errors} uploads",
        measured="together",
        p50_ms=answers.percentile_ms(50),
        p99_ms=answers.percentile_ms(99),
        bare_p50_ms=bare.percentile_ms(50),
        bare_p99_ms=bare.percentile_ms(99),
        upload_p50_ms=uploads.percentile_ms(50),
        polls=len(answers.seconds),
        uploads=len(uploads.seconds),
        events=events,
        errors=answers.errors + uploads.errors,
    )


async def _everything(servers: Servers, polls: list[bytes]) -> tuple[Answers, Answers, int]:
    events = 0
    job_ids = servers.job_ids

    async def follow(job_id: str) -> None:
        nonlocal events
        connection = await Connection.open(servers.gateway_port)
        lines = await connection.lines(get(f"/jobs/{job_id}/events", Accept="text/event-stream"))
        try:
            while True:
                line = await lines.readline()
                if not line:
                    raise ConnectionError("the stream ended")
                events += line.startswith(b"event:")
        finally:
            connection.close()

    followers = [asyncio.create_task(follow(job_ids[i % len(job_ids)])) for i in range(STREAMS)]
    await asyncio.sleep(2.0)
    answers, uploads = await asyncio.gather(
        at_a_rate(
            servers.gateway_port,
            polls,
            per_second=POLLS_PER_SECOND,
            connections=POLLING_CONNECTIONS,
            seconds=SECONDS,
        ),
        at_a_rate(
            servers.gateway_port,
            [_upload()],
            per_second=UPLOADS_PER_SECOND,
            connections=4,
            seconds=SECONDS,
        ),
    )
    broken = [follower for follower in followers if follower.done()]
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    answers.errors += len(broken)
    return answers, uploads, events


def _upload() -> bytes:
    """The coins, as a form."""
    boundary = uuid.uuid4().hex
    body = b""
    for name in ("image", "mask"):
        head = (
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{name}"; filename="{name}.png"\r\nContent-Type: image/png\r\n\r\n'
        )
        body += head.encode() + (ROOT / "examples/coins" / f"{name}.png").read_bytes() + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    head = (
        "POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def _progress(servers: Servers) -> Iterator[None]:
    """Workers beat with progress every second meanwhile."""
    claims = [claim for _ in servers.job_ids if (claim := servers.store.claim(Kind.JOB))]
    stopping = threading.Event()

    def beat() -> None:
        step = 0
        while not stopping.wait(1.0):
            step += 1
            progress = Progress(step=step, total=1_000, fraction=step / 1_000)
            for claim in claims:
                servers.store.beat(claim, BeatReport(phase=Phase.TRAINING, progress=progress))

    thread = threading.Thread(target=beat, name="beats")
    thread.start()
    time.sleep(1.5)
    try:
        yield
    finally:
        stopping.set()
        thread.join()
