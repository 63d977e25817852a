"""The small client of the API server, against a server that answers as it is told."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient, trust
from gatehouse_local.net import LOOPBACK
from gatehouse_local.pki import ensure_certificate

LATER: Mapping[str, str] = {"Retry-After": "0"}


class Answers(BaseHTTPRequestHandler):
    """The first of ``statuses`` each time, or else the object."""

    protocol_version = "HTTP/1.1"
    statuses: ClassVar[list[tuple[int, Mapping[str, str]]]]
    asked: ClassVar[int]
    closes: ClassVar[bool]

    def do_GET(self) -> None:
        Answers.asked += 1
        status, headers = self.statuses.pop(0) if self.statuses else (200, {})
        body = json.dumps({"message": "storage is (re)initializing"}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.closes

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[KubeClient]:
    Answers.statuses, Answers.asked, Answers.closes = [], 0, False
    certificate = ensure_certificate(tmp_path, authority="test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    server = HTTPServer((LOOPBACK, 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = KubeClient(port=server.server_port, token="t", tls=trust(certificate.authority))
    with contextlib.closing(made):
        yield made
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_comes_again_when_the_server_asks_for_that(client: KubeClient) -> None:
    Answers.statuses = [(429, LATER), (429, LATER)]
    client.request("GET", "/apis")
    assert Answers.asked == 3


def test_it_does_not_come_again_for_ever(client: KubeClient) -> None:
    Answers.statuses = [(429, LATER)] * 100
    with pytest.raises(ApiRefused, match="initializing"):
        client.request("GET", "/apis")
    assert Answers.asked == 11


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (503, LATER), (404, {})])
def test_what_the_server_does_not_ask_to_try_again_is_said_at_once(
    client: KubeClient, status: int, headers: Mapping[str, str]
) -> None:
    Answers.statuses = [(status, headers)]
    with pytest.raises(ApiRefused):
        client.request("GET", "/apis")
    assert Answers.asked == 1


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatehouse_local.kube._LONGEST_IDLE_SECONDS", -1.0)
    Answers.closes = True
    client.request("GET", "/apis")
    client.request("GET", "/apis")
    assert Answers.asked == 2
