"""A proxy before a real S3 server that now and then behaves as stores do on a bad day."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

FAULTS = ("500", "503", "slow", "silent", "cut")
SLOW_SECONDS = 1.0
_ERROR = "<Error><Code>{code}</Code><Message>on purpose</Message></Error>"


class FaultyS3:
    """Passes requests on; a share of them is refused, delayed, left without an answer or cut off.

    Args:
        behind: base URL of the real server.
        share: of requests that a fault is drawn for.
        seed: of the lot.
        faults: of which one is drawn.
    """

    def __init__(
        self, behind: str, *, share: float, seed: int = 0, faults: Sequence[str] = FAULTS
    ) -> None:
        self.done: Counter[str] = Counter()
        self._behind = urlsplit(behind)
        self._share, self._random, self._faults = share, random.Random(seed), faults
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                proxy._answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _draw(self) -> str:
        with self._lock:
            fault = "none"
            if self._random.random() < self._share:
                fault = self._random.choice(self._faults)
            self.done[fault] += 1
            return fault

    def _answer(self, asked: BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        fault = self._draw()
        if fault == "silent":
            asked.close_connection = True
            return
        if fault in {"500", "503"}:
            self._refuse(asked, int(fault))
            return
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        status, headers, answer = self._ask(asked, body)
        asked.send_response(status)
        for name, value in headers:
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                asked.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            asked.send_header("Content-Length", str(len(answer)))
        asked.end_headers()
        if fault == "cut" and answer:
            asked.close_connection = True
            answer = answer[: len(answer) // 2]
        asked.wfile.write(answer)

    def _refuse(self, asked: BaseHTTPRequestHandler, status: int) -> None:
        code = "InternalError" if status == 500 else "SlowDown"
        answer = b"" if asked.command == "HEAD" else _ERROR.format(code=code).encode()
        asked.send_response(status)
        asked.send_header("Content-Type", "application/xml")
        asked.send_header("Content-Length", str(len(answer)))
        asked.end_headers()
        asked.wfile.write(answer)

    def _ask(
        self, asked: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The real answer; the host stays as it was asked for, because it is signed."""
        assert self._behind.hostname is not None
        behind = http.client.HTTPConnection(self._behind.hostname, self._behind.port, timeout=30)
        try:
            behind.putrequest(asked.command, asked.path, skip_host=True, skip_accept_encoding=True)
            for name, value in asked.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    behind.putheader(name, value)
            behind.endheaders(body)
            response = behind.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            behind.close()
