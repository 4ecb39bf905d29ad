"""Makes the framework's plain-text 413 a problem document.

The framework enforces the limits (``max_body_size`` of the routers: by ``Content-Length`` and
while reading). Where the length alone is too large it replaces whatever answer there is by its own
text; this middleware, outside of it, replaces that text again.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.problems import PROBLEM_MEDIA_TYPE, ProblemError, problem_response

_TOO_LARGE = 413


class BodyLimitProblems:
    """ASGI middleware: a 413 that is no problem document becomes one."""

    def __init__(self, app: ASGIApp, max_upload_bytes: int) -> None:
        self.app = app
        self._detail = f"The request is larger than {max_upload_bytes / 1e6:.0f} MB."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on but the answer in question."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == _TOO_LARGE:
                content_type = Headers(raw=message["headers"]).get("content-type", "")
                if not content_type.startswith(PROBLEM_MEDIA_TYPE):
                    replaced = True
                    response = problem_response(ProblemError("too_large", self._detail))
                    await response(scope, receive, send)
                    return
            if not replaced:
                await send(message)

        await self.app(scope, receive, send_problem)
