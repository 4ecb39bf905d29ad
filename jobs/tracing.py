"""OpenTelemetry traces, behind a setting: one trace from a request to the attempts at its job.

A job's record carries the W3C ``traceparent`` of the request that made it; messages may be lost, so
they carry none. Sampling and headers are set by OpenTelemetry's own variables
(``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS``).
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.settings import Settings

EXPORT_SECONDS = 3.0
"""For one batch: a collector that is away must not hold up the end of a process."""
_TRACEPARENT = "traceparent"
_PROPAGATOR = TraceContextTextMapPropagator()


def configure_tracing(settings: Settings, service: str) -> None:
    """Sends this process's spans to ``traces_url``, in batches; does nothing where that is unset.

    Args:
        settings: for the address.
        service: what the spans' resource is called, ``onepair-gateway`` or ``onepair-worker``.
    """
    if settings.traces_url is None:
        return
    # a tenth of a second, for those who want traces
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=settings.traces_url, timeout=EXPORT_SECONDS)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: service}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


def current_trace_context() -> str:
    """``traceparent`` of the span that this runs in; empty: nothing is traced."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get(_TRACEPARENT, "")


def to_context(trace_context: str) -> Context:
    """What spans of that trace have as their parent; of an empty one, or a wrong one: none."""
    return _PROPAGATOR.extract({_TRACEPARENT: trace_context}, context=Context())
