"""One Valkey under thousands of workers: they claim, beat, publish, finish and keep house.

Each simulated worker has a connection of its own and says what a real one says, as often: a beat
with progress every 0.8 s while it works, a checkpoint every 30 s, a round of housekeeping every
15 s. Its jobs take half a minute to a minute, so there are many more claims and ends than in
earnest. Times are from the moment a beat was due: where the simulation itself is late, that counts.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.load.resp import ValkeyConnection
from bench.load.servers import add_job
from bench.measurement import report
from jobs.lua import script
from jobs.record import Engine, Kind, Phase, Progress
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.state.scripts import script_limits
from jobs.valkey import EmbeddedValkey

WORKERS = (500, 1_000, 2_000, 4_000)
BEAT_SECONDS = 0.8
PUBLISH_SECONDS = 30.0
REAP_SECONDS = 15.0
JOB_SECONDS = (30.0, 60.0)
WARM_UP_SECONDS, SECONDS = 15.0, 20.0
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Done:
    """What all workers did while it was measured."""

    beat_seconds: list[float] = field(default_factory=list)
    claim_seconds: list[float] = field(default_factory=list)
    calls: int = 0
    refused: int = 0


class Scripts:
    """The state machine's scripts as commands."""

    def __init__(self, store: TaskStore) -> None:
        self._limits = script_limits(store.settings)
        self._tag = store.keys.tag
        names = ("claim", "beat", "publish", "finish", "reap")
        self._sha = {name: str(store.client.script_load(script(name))) for name in names}

    def command(self, name: str, *arguments: str) -> tuple[str, ...]:
        """One call, in words."""
        return ("EVALSHA", self._sha[name], "1", self._tag, self._limits, *arguments)


class Worker:
    """One of them, from its first claim until the time is over."""

    def __init__(self, scripts: Scripts, done: Done, *, begins: float, ends: float) -> None:
        self._scripts, self._done = scripts, done
        self._begins, self._ends = begins, ends
        self._next_reap = 0.0

    async def run(self, socket: str) -> None:
        """Works on one job after the other."""
        await asyncio.sleep(random.random() * WARM_UP_SECONDS / 2)
        connection = await ValkeyConnection.open(socket)
        self._next_reap = time.perf_counter() + random.random() * REAP_SECONDS
        while time.perf_counter() + BEAT_SECONDS < self._ends:
            asked = time.perf_counter()
            answer, ref, *claimed = await self._call(
                connection, "claim", Kind.JOB, "", f"{random.getrandbits(128):032x}"
            )
            if answer != "claimed":
                await asyncio.sleep(1.0)
                continue
            if self._is_measured():
                self._done.claim_seconds.append(time.perf_counter() - asked)
            await self._work(connection, ref, claimed[0])
        connection.close()

    async def _work(self, connection: ValkeyConnection, ref: str, token: str) -> None:
        began = time.perf_counter()
        until = began + random.uniform(*JOB_SECONDS)
        published, due, step = began, began, 0
        while (due := due + BEAT_SECONDS) < until:
            if due > self._ends:
                return
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            step += 20
            told = progress_of(step)
            answer = await self._call(
                connection, "beat", ref, token, Phase.TRAINING, told, "", "", ""
            )
            self._done.refused += answer[0] != "ok"
            if self._is_measured():
                self._done.beat_seconds.append(time.perf_counter() - due)
            if due - published > PUBLISH_SECONDS:
                published = due
                await self._call(
                    connection, "publish", ref, token, checkpoint_of(ref, step), ENGINE
                )
            if due > self._next_reap:
                self._next_reap = due + REAP_SECONDS
                await self._call(connection, "reap", "1000", "0")
        await self._call(connection, "finish", ref, token, "succeeded", "", "{}", "", "")

    async def _call(self, connection: ValkeyConnection, name: str, *arguments: str) -> list[str]:
        self._done.calls += self._is_measured()
        answer: list[str] = await connection.ask(*self._scripts.command(name, *arguments))
        return answer

    def _is_measured(self) -> bool:
        return self._begins <= time.perf_counter() < self._ends


ENGINE = Engine(
    core_version="0.1.0", scoring_network="bench", scoring_weights_sha256="e" * 64
).model_dump_json()


def progress_of(step: int) -> str:
    """As a training reports it."""
    losses = {"generator": 1.234567, "discriminator_real": 0.61, "discriminator_fake": 0.58}
    return Progress(
        step=step, total=5_000, fraction=min(1.0, step / 5_000), steps_per_second=25.1,
        eta_seconds=120.5, losses=losses,
    ).model_dump_json()  # fmt: skip


def checkpoint_of(ref: str, step: int) -> str:
    """A published checkpoint's record."""
    return (
        f'{{"key":"jobs/{ref}/a1/checkpoint-{step:08d}.safetensors","sha256":"{"c" * 64}",'
        f'"step":{step},"size_bytes":26000000,"final":false}}'
    )


def measure_workers(folder: Path) -> None:
    """More and more of them, each time on a Valkey of their own."""
    for count in WORKERS:
        with EmbeddedValkey(folder / str(count), maxmemory="2gb") as valkey:
            settings = Settings.model_validate(
                {"data_dir": folder, "valkey_url": valkey.url, "max_jobs_per_key": 10**6}
            )
            client = connect(valkey.url)
            store = TaskStore(client, settings)
            empty = int(client.info("memory")["used_memory"])
            with ThreadPoolExecutor(16) as pool:  # so many writes share an fsync
                list(pool.map(add_job, [store] * (3 * count)))
            pid = int(client.info("server")["process_id"])
            done, valkey_share, own_share = asyncio.run(
                _simulate(count, Scripts(store), str(valkey.socket_path), pid)
            )
            memory = client.info("memory")
            _report(count, done, valkey_share, own_share, int(memory["used_memory"]) - empty)


async def _simulate(
    count: int, scripts: Scripts, socket: str, pid: int
) -> tuple[Done, float, float]:
    """What they did, and the shares of a core that Valkey and this process took meanwhile."""
    begins = time.perf_counter() + WARM_UP_SECONDS
    done = Done()
    shares: list[float] = []

    async def watch() -> None:
        await asyncio.sleep(WARM_UP_SECONDS)
        before = (_cpu_seconds(pid), time.process_time())
        await asyncio.sleep(SECONDS)
        after = (_cpu_seconds(pid), time.process_time())
        shares.extend((b - a) / SECONDS for a, b in zip(before, after, strict=True))

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        for _ in range(count):
            worker = Worker(scripts, done, begins=begins, ends=begins + SECONDS)
            group.create_task(worker.run(socket))
    return done, shares[0], shares[1]


def _cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _report(count: int, done: Done, valkey: float, own: float, used_bytes: int) -> None:
    beats_ms = np.array(done.beat_seconds) * 1e3
    claims_ms = np.array(done.claim_seconds or [float("nan")]) * 1e3
    p50, p99 = np.percentile(beats_ms, (50, 99))
    report(
        f"{count} workers: {done.calls / SECONDS:.0f} calls a second, beats {p50:.1f} ms (p99 "
        f"{p99:.0f}), claims {np.median(claims_ms):.1f} ms; Valkey {valkey:.0%} of a core, the "
        f"simulation {own:.0%}; {used_bytes / 1e6:.0f} MB; {done.refused} refused",
        measured="workers",
        workers=count,
        calls_per_second=done.calls / SECONDS,
        beat_p50_ms=float(p50),
        beat_p99_ms=float(p99),
        claim_p50_ms=float(np.median(claims_ms)),
        valkey_core_share=valkey,
        simulation_core_share=own,
        used_bytes=used_bytes,
        refused=done.refused,
    )
