"""A client of Valkey that costs little: commands are bytes, replies are parsed as far as needed."""

from __future__ import annotations

import asyncio
from typing import Any


class ValkeyConnection:
    """One command at a time, over the server's Unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, path: str) -> ValkeyConnection:
        """To the socket at ``path``."""
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, command: bytes) -> Any:
        """Sends a command; its reply as int, str, None or a list of them.

        Raises:
            RuntimeError: the server answered with an error.
        """
        self._writer.write(command)
        return await self._reply()

    async def _reply(self) -> Any:
        line = await self._reader.readuntil(b"\r\n")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            length = int(rest)
            if length < 0:
                return None
            return (await self._reader.readexactly(length + 2))[:-2].decode()
        if kind == b"*":
            return [await self._reply() for _ in range(int(rest))]
        if kind == b":":
            return int(rest)
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest.decode()

    def close(self) -> None:
        """Without waiting."""
        self._writer.close()


def encode(*words: str) -> bytes:
    """A command as the server reads it."""
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        raw = word.encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)
