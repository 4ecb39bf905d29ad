"""How many polls a second a gateway answers, as a share of what the bare route does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

import httpx2

from bench.load.client import Connection, as_fast_as_possible, get
from bench.load.servers import started
from bench.measurement import report

ROUNDS = 5
SECONDS = 4.0
CONNECTIONS = 16


def measure_rates(folder: Path) -> None:
    """Both in turn, round by round; the middle of the rounds' ratios."""
    with started(folder, jobs=1) as servers:
        path = f"/jobs/{servers.job_ids[0]}"
        tag = httpx2.get(f"http://127.0.0.1:{servers.gateway_port}{path}").headers["etag"]
        unchanged = get(path, If_None_Match=tag)
        assert asyncio.run(_status(servers.gateway_port, unchanged)) == 304
        polls = {"the whole job": get(path), "304, nothing new": unchanged}
        for name, request in polls.items():
            ratios, ours = [], []
            for _ in range(ROUNDS):
                ours.append(_rate(servers.gateway_port, request))
                ratios.append(ours[-1] / _rate(servers.bare_port, get(path)))
            report(
                f"polls of a job ({name}): {median(ratios):.0%} of the bare route's rate "
                f"({median(ours):.0f} a second, {min(ratios):.0%}-{max(ratios):.0%})",
                measured="poll_rate",
                poll=name,
                ratio=median(ratios),
                ratios=ratios,
                per_second=median(ours),
            )


async def _status(port: int, request: bytes) -> int:
    connection = await Connection.open(port)
    try:
        return await connection.ask(request)
    finally:
        connection.close()


def _rate(port: int, request: bytes) -> float:
    return asyncio.run(as_fast_as_possible(port, request, connections=CONNECTIONS, seconds=SECONDS))
