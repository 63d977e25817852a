"""A POST, its rows, the objects, and the operator's reconciles with their rows and statuses: one trace."""

from __future__ import annotations

import contextlib
import gzip
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cluster.rig import Operator, until
from cluster.server.processes import ServerProcess, make_account
from cluster.tokens import account_kubeconfig
from cluster.world import make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.net import LOOPBACK
from gatehouse_local.s3 import S3Endpoint

V3 = "/api/model_registry/v1alpha3"


@dataclass
class Span:
    """A span that was sent."""

    service: str
    name: str
    trace_id: str
    id: str
    parent: str
    text: str


@dataclass
class Collector:
    """An OTLP collector over HTTP on loopback."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)

    def received(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            [service] = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            self.spans += [
                Span(service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), str(span))
                for scope in resource.scope_spans
                for span in scope.spans
            ]

    def of(self, trace_id: str) -> set[tuple[str, str]]:
        return {(span.service, span.name) for span in self.spans if span.trace_id == trace_id}


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.received(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found.url = f"http://{LOOPBACK}:{server.server_port}"
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def test_a_governed_version_is_one_trace_from_the_post_to_the_status(
    installed: RunningControlPlane, minio: S3Endpoint, collector: Collector, tmp_path: Path
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    with contextlib.ExitStack() as stack:
        world = stack.enter_context(make_world(installed, minio))
        operator = Operator(installed, tmp_path / "operator", environment=environment)
        stack.enter_context(contextlib.closing(operator)).start()
        world.upload()
        defaults = {"namespace": world.namespace, "hardwareProfileRef": "nvidia-l4"}
        world.apply(world.registry(defaults=defaults))
        world.final("registry", kind="ModelRegistry")
        make_account(world.kube, world.namespace, "server", "gatehouse-server", everywhere=True)
        kubeconfig = account_kubeconfig(installed, world.namespace, "server", folder=tmp_path)
        arguments = [f"--registry={world.namespace}/registry", f"--data-dir={operator.data_dir}"]
        server = ServerProcess(tmp_path, kubeconfig, *arguments, environment=environment)
        stack.enter_context(contextlib.closing(server))
        until(lambda: server.answers("/readyz/health", (200, "OK")), what=server.log.read_text)
        token = make_account(world.kube, world.namespace, "submitter", "gatehouse-submitter")
        traces = [secrets.token_hex(16) for _ in range(3)]

        def post(path: str, body: object, trace: str) -> str:
            headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
            status, answer = server.ask("POST", f"{V3}/{path}", body, token=token, headers=headers)
            assert status == 201, answer
            return str(answer["id"])

        model = post("registered_models", {"name": "granite"}, traces[0])
        version = post("model_versions", {"name": "1", "registeredModelId": model}, traces[1])
        artifact = {"artifactType": "model-artifact", "uri": world.uri("granite-1"), "modelFormatName": "safetensors"}
        post(f"model_versions/{version}/artifacts", artifact, traces[2])
        ready = world.wait("granite-1", lambda body: body["status"].get("phase") == "Ready to Deploy")
        assert ready["metadata"]["annotations"]["gatehouse.dev/traceparent"].startswith(f"00-{traces[2]}-")
        expected = {
            ("gatehouse-server", f"POST {V3}/model_versions/{{id}}/artifacts"),
            ("gatehouse-server", "create objects"),
            ("gatehouse-server", "rows CreateEntry"),
            ("gatehouse-operator", "reconcile registeredmodels"),
            ("gatehouse-operator", "reconcile modelversions"),
            ("gatehouse-operator", "rows SaveVersion"),
            ("gatehouse-operator", "write status"),
        }
        until(lambda: expected <= collector.of(traces[2]), what=lambda: str(collector.of(traces[2])))
        # A model that is only recorded is one request.
        assert {service for service, _ in collector.of(traces[0])} == {"gatehouse-server"}
        ids = {span.id for span in collector.spans if span.trace_id == traces[2]}
        for span in collector.spans:
            if span.trace_id == traces[2] and not span.name.startswith("POST"):
                assert span.parent in ids
            assert token not in span.text
        logged = [line for line in operator.records() if line.get("trace_id") == traces[2]]
        assert "transition" in {line["event"] for line in logged}
