"""Prometheus metrics of the gateway: requests, and how long they took."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "any"})
# From a look at a record to a long poll or an upload on a slow line.
_BUCKETS_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)


class GatewayMetrics:
    """The gateway's metrics, in a registry of its own: two apps in a process don't mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "onepair_http_requests_total",
            "Requests answered, by route.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "onepair_http_request_seconds",
            "Seconds until the answer was complete.",
            ("method", "route"),
            buckets=_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "onepair_http_requests_in_flight", "Requests being answered.", registry=self.registry
        )


class MeasureRequests:
    """ASGI middleware: counts and times each request under its route's template."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, and note it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = "500"

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        begun = time.monotonic()
        try:
            with self._metrics.in_flight.track_inprogress():
                await self.app(scope, receive, send_noted)
        finally:
            # The template, never the path: ids would make a new time series each.
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if route != "unknown" else "any"
            if method not in _METHODS:  # clients may make up any
                method = "other"
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.seconds.labels(method, route).observe(time.monotonic() - begun)
