"""A client that costs little, so that what is measured is the server: HTTP/1.1, kept alive."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field

import numpy as np

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Answers:
    """Of many requests.

    Attributes:
        seconds: from the moment each was due to its last byte.
        errors: answers above 399 and broken connections.
    """

    seconds: list[float] = field(default_factory=list)
    errors: int = 0

    def percentile_ms(self, percent: float) -> float:
        """Of the times, in milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1e3 if self.seconds else float("nan")


class Connection:
    """One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """To a server on the loopback."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> int:
        """Sends a whole request and reads the whole answer; its status.

        Raises:
            OSError, asyncio.IncompleteReadError: the connection broke.
        """
        self._writer.write(request)
        head = await self._reader.readuntil(_END_OF_HEAD)
        length = _LENGTH.search(head)
        if length is not None and int(length[1]):
            await self._reader.readexactly(int(length[1]))
        return int(head[9:12])

    async def lines(self, request: bytes) -> asyncio.StreamReader:
        """For an answer without an end: its body, line by line."""
        self._writer.write(request)
        head = await self._reader.readuntil(_END_OF_HEAD)
        if head[9:12] != b"200":
            raise ConnectionError(head.decode(errors="replace"))
        return self._reader

    def close(self) -> None:
        """Without waiting."""
        self._writer.close()


def get(path: str, **headers: str) -> bytes:
    """A request without a body."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def as_fast_as_possible(
    port: int, request: bytes, *, connections: int, seconds: float
) -> float:
    """Requests a second that a server answers when each connection asks again at once.

    Raises:
        ConnectionError: an answer was an error.
    """
    until = time.perf_counter() + seconds
    answered = 0

    async def ask_on() -> None:
        nonlocal answered
        connection = await Connection.open(port)
        while time.perf_counter() < until:
            status = await connection.ask(request)
            if status >= 400:
                raise ConnectionError(f"status {status}")
            answered += 1
        connection.close()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask_on())
    return answered / (time.perf_counter() - began)


async def at_a_rate(
    port: int, requests: list[bytes], *, per_second: float, connections: int, seconds: float
) -> Answers:
    """Asks at fixed times, whatever the answers take: a late one delays no other's clock.

    Args:
        port: of the server.
        requests: asked in turn.
        per_second: requests, all connections together.
        connections: that share them; a request waits for a free one, and that counts.
        seconds: for so long.
    """
    answers = Answers()
    due: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()

    async def serve() -> None:
        connection = await Connection.open(port)
        while (asked := await due.get()) is not None:
            when, request = asked
            try:
                status = await connection.ask(request)
            except (OSError, asyncio.IncompleteReadError):
                answers.errors += 1
                connection = await Connection.open(port)
                continue
            answers.errors += status >= 400
            answers.seconds.append(time.perf_counter() - when)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(serve())
        began = time.perf_counter()
        for i in range(round(per_second * seconds)):
            when = began + i / per_second
            await asyncio.sleep(max(0.0, when - time.perf_counter()))
            due.put_nowait((when, requests[i % len(requests)]))
        for _ in range(connections):
            due.put_nowait(None)
    return answers
