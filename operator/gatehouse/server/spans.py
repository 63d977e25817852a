"""OpenTelemetry spans of requests, where the environment names a collector. Without one nothing is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from gatehouse.runtime.spans import parent_context, provider_of, steps_of
from gatehouse.runtime.traces import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

__all__ = ["NoSpans", "OpenTelemetrySpans", "RequestSpan", "RequestSpans", "spans_of"]

_SERVICE: Final = "gatehouse-server"
_FAILED: Final = 500


class RequestSpan(Protocol):
    """The span of one request."""

    @property
    def trace_id(self) -> str:
        """The trace of the request, with 32 hexadecimal digits."""
        ...

    @property
    def traceparent(self) -> str:
        """The header by which later work continues the trace; empty where no trace is sent."""
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

    __slots__ = ("trace_id", "traceparent")

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.traceparent = ""

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
        context = span.get_span_context()
        self.trace_id = f"{context.trace_id:032x}"
        sampled = context.trace_flags.sampled
        self.traceparent = f"00-{self.trace_id}-{context.span_id:016x}-01" if sampled else ""

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
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - only where traces are sent

        context = parent_context(trace)
        made = self._tracer.start_as_current_span(
            method, context=context, kind=SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        )
        with made as span, steps_of(self._tracer):
            yield _Sent(span, method)

    def close(self) -> None:
        """Sends the spans that are left, and ends the sender."""
        self._provider.shutdown()


def spans_of(environ: Mapping[str, str]) -> RequestSpans:
    """The spans that the environment asks for, by the variables of OpenTelemetry. Raises SpansUnavailable."""
    provider = provider_of(environ, service=_SERVICE)
    return NoSpans() if provider is None else OpenTelemetrySpans(provider)
