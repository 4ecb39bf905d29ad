"""A Valkey, a gateway and the bare route, each a process of its own, with jobs to ask for."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from cli.parts import Part
from jobs.keys import new_job_id
from jobs.record import ClassInfo, JobInput, JobRequest
from jobs.settings import Settings
from jobs.state import Answer, NewJob, TaskStore, connect
from jobs.valkey import EmbeddedValkey

STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Servers:
    """What is measured.

    Attributes:
        settings: of the gateway.
        store: the same state, seen directly.
        gateway_port: of the gateway.
        bare_port: of the yardstick.
        job_ids: jobs that can be asked for.
    """

    settings: Settings
    store: TaskStore
    gateway_port: int
    bare_port: int
    job_ids: list[str]


@contextmanager
def started(folder: Path, *, jobs: int) -> Iterator[Servers]:
    """Everything, with so many queued jobs; call it from the main thread."""
    with EmbeddedValkey(folder) as valkey:
        settings = Settings.model_validate({"data_dir": folder, "valkey_url": valkey.url})
        store = TaskStore(connect(valkey.url), settings)
        job_ids = [add_job(store) for _ in range(jobs)]
        port, bare_port = _free_port(), _free_port()
        environment = {
            **os.environ,
            "ONEPAIR_DATA_DIR": str(folder),
            "ONEPAIR_VALKEY_URL": valkey.url,
            "ONEPAIR_PORT": str(port),
        }
        gateway = Part(
            "gateway",
            [sys.executable, "-m", "service"],
            env=environment,
            log=folder / "gateway.log",
        )
        answer = folder / "answer.json"
        bare = Part(
            "bare",
            [sys.executable, "-m", "bench.load.bare", str(bare_port), str(answer)],
            env=environment,
            log=folder / "bare.log",
        )
        try:
            gateway.start()
            _wait_for(port, "/livez")
            answer.write_text(httpx2.get(f"http://127.0.0.1:{port}/jobs/{job_ids[0]}").text)
            bare.start()
            _wait_for(bare_port, "/jobs/1")
            yield Servers(settings, store, port, bare_port, job_ids)
        finally:
            for part in (gateway, bare):
                part.terminate()
                part.wait(STOP_SECONDS)


def add_job(store: TaskStore) -> str:
    """A queued job as the gateway leaves it, without objects."""
    job_id = new_job_id()
    names = {name: f"jobs/{job_id}/input/{name}" for name in ("image.png", "mask.png", "pair.json")}
    answer = store.create_job(
        NewJob(
            id=job_id,
            request=JobRequest(),
            input=JobInput(
                image_key=names["image.png"],
                mask_key=names["mask.png"],
                pair_key=names["pair.json"],
                image_sha256="a" * 64,
                mask_sha256="b" * 64,
                size_bytes=100_000,
            ),
            classes=(
                ClassInfo(index=0, name="background", area_fraction=0.75),
                ClassInfo(index=1, name="coin", area_fraction=0.25),
            ),
        )
    ).answer
    if answer is not Answer.CREATED:
        raise RuntimeError(f"no job was created: {answer}")
    return job_id


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, path: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx2.get(f"http://127.0.0.1:{port}{path}")
        except httpx2.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
