"""OpenTelemetry spans of work, where the environment names a collector. Without one nothing is imported.

A reconcile of an object that a traced request created continues the request's trace. :func:`step` is a part of whatever
span is current, in any process: a request's in the server, a reconcile's in the operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol

from gatehouse.runtime.traces import Trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

__all__ = [
    "NoWorkSpans",
    "OpenTelemetryWorkSpans",
    "SpansUnavailable",
    "WorkSpans",
    "parent_context",
    "provider_of",
    "step",
    "steps_of",
    "work_spans_of",
]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NAME: Final = "gatehouse"
_TRACER: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


class SpansUnavailable(Exception):
    """The environment asks for traces, and the libraries are not installed."""


class WorkSpans(Protocol):
    """Makes the spans of reconciles."""

    def reconcile(self, kind: str, namespace: str, name: str, *, trace: Trace) -> AbstractContextManager[None]:
        """The span of a reconcile, below the span that a trace names."""
        ...

    def close(self) -> None:
        """Sends what is left."""
        ...


class NoWorkSpans:
    """No traces are sent."""

    @contextmanager
    def reconcile(self, kind: str, namespace: str, name: str, *, trace: Trace) -> Iterator[None]:  # noqa: ARG002
        """No span."""
        yield

    def close(self) -> None:
        """Nothing is left."""


class OpenTelemetryWorkSpans:
    """Sends a span of each reconcile whose trace is sampled."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_NAME)

    @contextmanager
    def reconcile(self, kind: str, namespace: str, name: str, *, trace: Trace) -> Iterator[None]:
        """The span, with the object that it is about."""
        about = {"gatehouse.kind": kind, "k8s.namespace.name": namespace, "gatehouse.object": name}
        span = self._tracer.start_as_current_span(
            f"reconcile {kind}",
            context=parent_context(trace),
            attributes=about,
            record_exception=False,
            set_status_on_exception=False,
        )
        with span, steps_of(self._tracer):
            yield

    def close(self) -> None:
        """Sends the spans that are left, and ends the sender."""
        self._provider.shutdown()


@contextmanager
def step(name: str) -> Iterator[None]:
    """A part of the current span; nothing where no span is current."""
    tracer = _TRACER.get()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False):
        yield


@contextmanager
def steps_of(tracer: Tracer) -> Iterator[None]:
    """Within the context, each :func:`step` is a span of the tracer."""
    token = _TRACER.set(tracer)
    try:
        yield
    finally:
        _TRACER.reset(token)


def parent_context(trace: Trace) -> Context | None:
    """The context in which a span is a child of the span that a trace names; None where the trace names none."""
    from opentelemetry.trace import (  # noqa: PLC0415 - only where traces are sent
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    if not trace.parent_id:
        return None
    parent = SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
    )
    return set_span_in_context(NonRecordingSpan(parent))


def provider_of(environ: Mapping[str, str], *, service: str) -> TracerProvider | None:
    """What sends spans to the collector that the environment names, by the variables of OpenTelemetry; None for none.

    Raises SpansUnavailable where a collector is named and the libraries are not installed.
    """
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if disabled or not any(environ.get(name) for name in _ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise SpansUnavailable(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed; expected: the extra `tracing`, as "
            "in `pip install gatehouse[tracing]`, or no such variable"
        ) from error
    named = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def work_spans_of(environ: Mapping[str, str], *, service: str) -> WorkSpans:
    """The spans of reconciles that the environment asks for. Raises SpansUnavailable."""
    provider = provider_of(environ, service=service)
    return NoWorkSpans() if provider is None else OpenTelemetryWorkSpans(provider)
