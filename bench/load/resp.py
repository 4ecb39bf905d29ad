"""A client of Valkey that costs less than redis-py's: no pool, no retry, no callbacks."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis

_CHUNK_BYTES = 64 * 1024


class ValkeyConnection:
    """One command at a time, over the server's Unix socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._replies = hiredis.Reader(encoding="utf-8", replyError=RuntimeError)

    @classmethod
    async def open(cls, path: str) -> ValkeyConnection:
        """To the socket at ``path``."""
        return cls(*await asyncio.open_unix_connection(path))

    async def ask(self, *words: str) -> Any:
        """Sends a command; its reply as int, str, None or a list of them.

        Raises:
            RuntimeError: the server answered with an error.
            ConnectionError: it has closed the connection.
        """
        self._writer.write(hiredis.pack_command(words))
        while (reply := self._replies.gets()) is False:
            chunk = await self._reader.read(_CHUNK_BYTES)
            if not chunk:
                raise ConnectionError("Valkey has closed the connection")
            self._replies.feed(chunk)
        if isinstance(reply, RuntimeError):
            raise reply
        return reply

    def close(self) -> None:
        """Without waiting."""
        self._writer.close()
