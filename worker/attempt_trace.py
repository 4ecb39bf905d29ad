"""An attempt as spans: one for all of it, one for each of its phases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace import Span, StatusCode

from jobs.record import Phase
from jobs.state import Claim
from jobs.tracing import to_context

_GOOD_ENDS = frozenset({"succeeded", "cancelled", "released"})


class AttemptTrace:
    """Continues the trace of the request that made the task; without tracing it does nothing.

    Args:
        claim: what is attempted.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._tracer = trace.get_tracer("onepair.worker")
        self._phase: Phase | None = None
        self._phase_span: Span | None = None
        self._span: Span | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """While it runs."""
        ref, task = self._claim.ref, self._claim.task
        parent = to_context(task.trace_context)
        if task.losses == task.strikes == 0:  # the first time
            waited_from_ns = int(task.created_at.timestamp() * 1e9)
            self._tracer.start_span(
                f"{ref.kind} waiting", context=parent, start_time=waited_from_ns
            ).end()
        with self._tracer.start_as_current_span(
            f"{ref.kind} attempt",
            context=parent,
            attributes={
                "onepair.task": str(ref),
                "onepair.token": self._claim.token,
                "onepair.request_id": self._claim.job.request_id,
            },
        ) as span:
            self._span = span
            try:
                yield
            finally:
                self._leave_phase()

    def enter(self, phase: Phase) -> None:
        """A phase is reported, once or again."""
        if self._span is None or phase is self._phase:
            return
        self._leave_phase()
        self._phase = phase
        context = trace.set_span_in_context(self._span)
        self._phase_span = self._tracer.start_span(str(phase), context=context)

    def ended(self, end: str) -> None:
        """``end``: as the worker's metrics call it."""
        if self._span is None:
            return
        self._span.set_attribute("onepair.end", end)
        if end not in _GOOD_ENDS:
            self._span.set_status(StatusCode.ERROR, end)

    def _leave_phase(self) -> None:
        if self._phase_span is not None:
            self._phase_span.end()
        self._phase, self._phase_span = None, None
