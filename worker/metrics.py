"""Prometheus metrics of one worker: what its attempts did, and how long the stores took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from jobs.record import Kind, Phase, Progress
from worker.protocol import SampledReport

_PHASE_BUCKETS_SECONDS = (1.0, 5.0, 20.0, 60.0, 300.0, 1_200.0, 3_600.0, 14_400.0)
_STORE_BUCKETS_SECONDS = (0.01, 0.05, 0.2, 1.0, 5.0, 20.0, 60.0)


class WorkerMetrics:
    """In a registry of its own: two runtimes in a process don't mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._attempts = Counter(
            "onepair_worker_attempts",
            "Attempts that have ended, by the state machine's answer or what cut them off.",
            ("kind", "end"),
            registry=self.registry,
        )
        self._busy = Gauge(
            "onepair_worker_busy", "Whether it works on a task.", ("kind",), registry=self.registry
        )
        self._steps_per_second = Gauge(
            "onepair_worker_steps_per_second",
            "Of the training that runs; 0: none does.",
            registry=self.registry,
        )
        self._gpu_bytes = Gauge(
            "onepair_worker_gpu_bytes",
            "GPU memory that the running child has allocated at most; 0: none.",
            registry=self.registry,
        )
        self._phases = Histogram(
            "onepair_worker_phase_seconds",
            "How long a phase took, cut off or not.",
            ("phase",),
            buckets=_PHASE_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._samples = Counter(
            "onepair_worker_samples",
            "Samples that were made, by what became of them.",
            ("verdict",),
            registry=self.registry,
        )
        self._store_seconds = Histogram(
            "onepair_worker_store_seconds",
            "One try of moving a file to or from the object store.",
            ("operation",),
            buckets=_STORE_BUCKETS_SECONDS,
            registry=self.registry,
        )
        self._store_failures = Counter(
            "onepair_worker_store_failures",
            "Tries that found the object store away or full.",
            registry=self.registry,
        )
        self._phase: Phase | None = None
        self._phase_began = 0.0

    def serve(self, host: str, port: int) -> None:
        """Answers Prometheus on a thread of its own until the process ends."""
        start_http_server(port, addr=host, registry=self.registry)

    @contextmanager
    def attempt(self, kind: Kind) -> Iterator[None]:
        """While an attempt runs."""
        self._busy.labels(kind).set(1)
        try:
            yield
        finally:
            self._leave_phase()
            self._busy.labels(kind).set(0)
            self._steps_per_second.set(0)
            self._gpu_bytes.set(0)

    def attempt_ended(self, kind: Kind, end: str) -> None:
        """``end``: the state machine's answer to its last word, or why there was none."""
        self._attempts.labels(kind, end).inc()

    def progress(self, phase: Phase, progress: Progress, gpu_bytes: int) -> None:
        """The child told where it is."""
        if phase is not self._phase:
            self._leave_phase()
            self._phase, self._phase_began = phase, time.monotonic()
        if phase is Phase.TRAINING:
            self._steps_per_second.set(progress.steps_per_second or 0)
        self._gpu_bytes.set(gpu_bytes)

    def _leave_phase(self) -> None:
        if self._phase is not None:
            self._phases.labels(self._phase).observe(time.monotonic() - self._phase_began)
            self._phase = None

    def sampled(self, made: SampledReport) -> None:
        """A set was made."""
        self._samples.labels("kept").inc(made.kept)
        self._samples.labels("rejected").inc(made.rejected)

    @contextmanager
    def moving(self, operation: str) -> Iterator[None]:
        """One try of ``put`` or ``get``."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._store_seconds.labels(operation).observe(time.monotonic() - began)

    def store_failed(self) -> None:
        """The object store was away or full."""
        self._store_failures.inc()
