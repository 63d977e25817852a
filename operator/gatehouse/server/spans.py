"""OpenTelemetry spans of requests, where the environment names a collector. Without one nothing is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from gatehouse.server.traces import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

__all__ = ["NoSpans", "OpenTelemetrySpans", "RequestSpan", "RequestSpans", "SpansUnavailable", "spans_of"]

_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_SERVICE: Final = "gatehouse-server"
_FAILED: Final = 500


class SpansUnavailable(Exception):
    """The environment asks for traces, and the libraries are not installed."""


class RequestSpan(Protocol):
    """The span of one request."""

    @property
    def trace_id(self) -> str:
        """The trace of the request, with 32 hexadecimal digits."""
        ...

    def answered(self, *, route: str, status: int) -> None:
        """Names the route and the status. No header, query or body is in a span."""
        ...


class RequestSpans(Protocol):
    """Makes spans."""

    def request(self, trace: Trace, method: str) -> AbstractContextManager[RequestSpan]:
        """The span of a request of this trace."""
        ...

    def close(self) -> None:
        """Sends what is left."""
        ...


class _Unsent:
    """A span that only knows its trace."""

    __slots__ = ("trace_id",)

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id

    def answered(self, *, route: str, status: int) -> None:
        """Nothing is sent."""


class NoSpans:
    """No traces are sent."""

    @contextmanager
    def request(self, trace: Trace, method: str) -> Iterator[RequestSpan]:  # noqa: ARG002
        """A span that is not sent."""
        yield _Unsent(trace.trace_id)

    def close(self) -> None:
        """Nothing is left."""


class _Sent:
    """A span of OpenTelemetry."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def answered(self, *, route: str, status: int) -> None:
        """Names the route and the status, as the semantic conventions of HTTP do."""
        from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - only where traces are sent

        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.request.method", self._method)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if status >= _FAILED:
            self._span.set_status(Status(StatusCode.ERROR))


class OpenTelemetrySpans:
    """Sends a span of each request. A sampled request of a caller's trace continues that trace."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)

    @contextmanager
    def request(self, trace: Trace, method: str) -> Iterator[RequestSpan]:
        """The span of a request."""
        from opentelemetry.trace import (  # noqa: PLC0415 - only where traces are sent
            NonRecordingSpan,
            SpanContext,
            SpanKind,
            TraceFlags,
            set_span_in_context,
        )

        context = None
        if trace.parent_id:
            parent = SpanContext(
                trace_id=int(trace.trace_id, 16),
                span_id=int(trace.parent_id, 16),
                is_remote=True,
                trace_flags=TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT),
            )
            context = set_span_in_context(NonRecordingSpan(parent))
        with self._tracer.start_as_current_span(
            method, context=context, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as span:
            yield _Sent(span, method)

    def close(self) -> None:
        """Sends the spans that are left, and ends the sender."""
        self._provider.shutdown()


def spans_of(environ: Mapping[str, str]) -> RequestSpans:
    """The spans that the environment asks for, by the variables of OpenTelemetry.

    Raises SpansUnavailable where a collector is named and the libraries are not installed.
    """
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if disabled or not any(environ.get(name) for name in _ENDPOINTS):
        return NoSpans()
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
    named = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetrySpans(provider)
