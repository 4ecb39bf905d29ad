"""How long the gateway waits for a client: for a request to begin, for an upload to arrive.

Without limits a connection that sends nothing, or a byte a minute, holds its place for ever.
"""

from __future__ import annotations

import asyncio
import math

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from jobs.settings import Settings
from service.problems import ProblemError, problem_response


def patient_protocol(head_seconds: float) -> type[H11Protocol]:
    """A protocol that closes connections whose next request doesn't come.

    uvicorn itself waits without limit for a connection's first request, and for the rest of any
    request line and headers that have begun.

    Args:
        head_seconds: from the connection, or a request's first byte, to the end of its headers.
    """

    class PatientProtocol(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            # the rest of an upload that was refused, and that nobody reads, is no request either
            if self.cycle is None or self.cycle.response_complete:
                self._await_head()
            else:
                self._head_came()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def _await_head(self) -> None:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(head_seconds, self.transport.close)

        def _head_came(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return PatientProtocol


class PatientUploads:
    """ASGI middleware: a body that stalls, or takes too long in all, is refused with 408.

    Args:
        app: what is protected.
        settings: how long it waits.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._pause_seconds = settings.upload_pause_seconds
        self._seconds = settings.upload_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and count the time until the body is complete."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + self._seconds
        is_slow = is_refused = False

        async def receive_in_time() -> Message:
            nonlocal deadline, is_slow
            left = deadline - asyncio.get_running_loop().time()
            if math.isinf(left):  # the body is here: what comes next is the client's leaving
                return await receive()
            try:
                async with asyncio.timeout(min(left, self._pause_seconds)):
                    message = await receive()
            except TimeoutError:
                is_slow = True
                return {"type": "http.disconnect"}
            if not message.get("more_body"):
                deadline = math.inf
            return message

        async def send_problem(message: Message) -> None:
            nonlocal is_refused
            if is_slow and message["type"] == "http.response.start":
                is_refused = True
                await problem_response(_slow())(scope, receive, send)
            elif not is_refused:
                await send(message)

        await self.app(scope, receive_in_time, send_problem)


def _slow() -> ProblemError:
    # the rest of the body may come yet, and must not be read as the next request
    return ProblemError("slow_upload", headers={"Connection": "close"})
