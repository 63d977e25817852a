"""Between a server and the real API server: passes requests on, and harms the next one that it is armed for."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import yaml

from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import trust
from gatehouse_local.net import LOOPBACK

__all__ = ["Fault", "FaultyApi", "faulty_api"]

Fault = Literal["request lost", "answer lost", "silent", "held", "expired"]
"""``held`` passes the request on when it is let go; ``silent`` never does. ``expired`` puts another token into it."""
_PATIENCE = 60.0


class FaultyApi:
    """Faults of creates of a resource."""

    def __init__(self, plane: RunningControlPlane) -> None:
        self._host, self._port = urlsplit(plane.url).hostname or "", urlsplit(plane.url).port
        self._tls = trust(plane.authority)
        self._armed: tuple[Fault, str] | None = None
        self.expired_token = ""
        self.url = ""
        self.reached, self.let_go = threading.Event(), threading.Event()

    def arm(self, fault: Fault, plural: str) -> None:
        """The next create of the resource meets the fault."""
        self.reached.clear()
        self.let_go.clear()
        self._armed = fault, plural

    def kubeconfig(self, original: Path) -> Path:
        """A kubeconfig with the same credentials that leads here."""
        body = yaml.safe_load(original.read_text())
        body["clusters"][0]["cluster"]["server"] = self.url
        target = original.with_suffix(".faulty")
        target.write_text(yaml.safe_dump(body))
        return target

    def fault_of(self, method: str, path: str) -> Fault | None:
        """The fault of a request, which is used up."""
        if self._armed is None or method != "POST" or not path.partition("?")[0].endswith(f"/{self._armed[1]}"):
            return None
        fault, _ = self._armed
        self._armed = None
        return fault

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        """What the API server answers."""
        upstream = http.client.HTTPSConnection(self._host, self._port, timeout=_PATIENCE, context=self._tls)
        with contextlib.closing(upstream) as connection:
            connection.request(method, path, body=body or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type", ""), answer.read()


@contextlib.contextmanager
def faulty_api(plane: RunningControlPlane) -> Iterator[FaultyApi]:
    """Serves on a free port of the loopback."""
    api = FaultyApi(plane)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            fault = api.fault_of(self.command, self.path)
            if fault is not None:
                api.reached.set()
            if fault in {"held", "silent"}:
                assert api.let_go.wait(_PATIENCE)
            if fault == "expired":
                headers["Authorization"] = f"Bearer {api.expired_token}"
            if fault in {"request lost", "silent"}:
                self.close_connection = True
                return
            status, content_type, content = api.pass_on(self.command, self.path, headers, body)
            if fault == "answer lost":
                self.close_connection = True
                return
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815 - http.server finds these names

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    server.daemon_threads = True
    api.url = f"http://{LOOPBACK}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        api.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
