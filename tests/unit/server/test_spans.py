"""Traces: none unless the environment names a collector, and then with nothing that clients send."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gatehouse.runtime.spans import SpansUnavailable
from gatehouse.server.spans import NoSpans, OpenTelemetrySpans, spans_of
from unit.server.parts import PREFIX, ReviewServer, application, ask, identification

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOKEN = "a-secret-token.of-ann"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "x"},
    ],
)
def test_without_a_collector_there_are_no_spans(environ: dict[str, str]) -> None:
    assert isinstance(spans_of(environ), NoSpans)


def test_nothing_of_opentelemetry_is_imported_without_a_collector() -> None:
    code = (
        "import sys, gatehouse.server.process, gatehouse.server.spans as spans; spans.spans_of({});"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert ended.stdout == "[]\n"


def test_libraries_that_are_missing_are_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SpansUnavailable, match=r"pip install gatehouse\[tracing\]"):
        spans_of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"})


async def test_a_request_is_one_span_of_the_callers_trace() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    api = ReviewServer(tokens={TOKEN: {"username": "ann"}})
    app = application(identification(api), spans=OpenTelemetrySpans(provider))
    headers = {"authorization": f"Bearer {TOKEN}", "traceparent": f"00-{TRACE}-{SPAN}-01"}
    answer = await ask(app, f"{PREFIX}/models/7/versions?q=private", headers=headers)
    assert answer.headers["x-request-id"] == TRACE
    [span] = exporter.get_finished_spans()
    assert span.name == f"GET {PREFIX}/models/{{id}}/versions"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": f"{PREFIX}/models/{{id}}/versions",
        "http.response.status_code": 200,
    }
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)
    for word in (TOKEN, "private", "ann"):
        assert word not in span.to_json()
    exporter.clear()
    answer = await ask(app, "/", headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    assert exporter.get_finished_spans() == (), "a trace that the caller does not sample"
    answer = await ask(app, "/")
    [span] = exporter.get_finished_spans()
    assert answer.headers["x-request-id"] == f"{span.context.trace_id:032x}"
    provider.shutdown()
