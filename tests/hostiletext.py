"""Objects whose every text is hostile to a terminal, made from the kinds' own types; and an API server of them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from gatehouse.api import GROUP, KINDS, VERSION, Resource
from gatehouse.api.schema import crd
from gatehouse.domain.common.text import is_plain

__all__ = ["FORGED", "HOSTILE", "HostileServer", "hostile_object", "hostile_server", "is_harmless"]

FORGED: Final = "open FORGED"
HOSTILE: Final = (
    "\x1b[2J\x1b]0;title\x07\x9b31m\x08\r\x7f[red]markup[/red]:skull:\u202eevil\u2066\u200b\u00ad\u2028\U000e0041"
    f"\n{FORGED}\ttab"
)
"""What moves the cursor, sets the title, looks like markup, turns text around, hides, and begins a line of its own."""

_VALID: Final = (
    "s3://models/granite/",
    "sha256:" + "0" * 64,
    "0" * 64,
    "2026-11-21T08:00:00Z",
    "https://example.com/",
    "granite-1",
    "production",
    "10m",
    "10",
    "1",
    "1Gi",
    "a/b",
    "s3.example.com",
    "x",
)


def is_harmless(text: str) -> bool:
    """Whether a terminal would only show the text, and no line of it is the hostile text's own."""
    return is_plain(text) and f"\n{FORGED}" not in f"\n{text}"


def hostile_object(kind: type[Resource]) -> dict[str, Any]:
    """An object of the kind, as the API server would send it, of hostile text wherever the schema takes any."""
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    body: dict[str, Any] = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind.info.kind,
        "metadata": {
            "name": HOSTILE,
            "namespace": HOSTILE,
            "uid": HOSTILE,
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": "2026-11-21T08:00:00Z",
            "labels": {"x": HOSTILE},
            "annotations": {"x": HOSTILE},
        },
        **{part: _value(schema["properties"][part]) for part in ("spec", "status") if part in schema["properties"]},
    }
    if "observedGeneration" in body.get("status", {}):
        body["status"]["observedGeneration"] = 1
    for _ in range(200):
        try:
            kind.model_validate(body)
        except ValidationError as refused:
            for problem in refused.errors():
                _repair(body, problem["loc"])
        else:
            return body
    raise AssertionError(f"no valid {kind.info.kind} came of {body}")


def _value(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            made = {name: _value(each) for name, each in schema.get("properties", {}).items()}
            extra = schema.get("additionalProperties")
            return made | ({HOSTILE: _value(extra)} if isinstance(extra, dict) else {})
        case "array":
            return [_value(schema["items"])]
        case "boolean":
            return True
        case "integer" | "number":
            return max(schema.get("minimum", 1), 1)
        case _:
            return _text(schema)


def _text(schema: Mapping[str, Any]) -> str:
    pattern, most = schema.get("pattern"), schema.get("maxLength", 1 << 20)
    candidates = (HOSTILE, HOSTILE[:most], *_VALID)
    if schema.get("format") == "date-time":
        return "2026-11-21T08:00:00Z"
    return next(
        (each for each in candidates if len(each) <= most and (pattern is None or re.search(pattern, each))), "x"
    )


def _repair(body: Any, path: tuple[int | str, ...]) -> None:
    """Gives what was refused another value, and takes it away where none is left."""
    *parents, last = path
    at = body
    for step in parents:
        if (isinstance(at, dict) and step in at) or (isinstance(at, list) and int(step) < len(at)):
            at = at[int(step) if isinstance(at, list) else step]
    if isinstance(at, dict) and last in at:
        known = at[last]
        later = _VALID.index(known) + 1 if known in _VALID else 0
        if isinstance(known, str) and later < len(_VALID):
            at[last] = _VALID[later]
        else:
            del at[last]
    elif isinstance(at, dict):
        at[str(last)] = _VALID[0]
    elif isinstance(at, list):
        at.clear()


@dataclass(frozen=True, slots=True)
class HostileServer:
    """A running server. ``asked`` is set once it has answered something."""

    kubeconfig: Path
    asked: threading.Event


class _Server(ThreadingHTTPServer):
    refuses = False
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        kinds = {kind.info.plural: kind for kind in KINDS}
        at = next((index for index, part in enumerate(parts) if part in kinds), None)
        if self.server.refuses or at is None:
            self._refuse()
        elif at == len(parts) - 1:
            kind = kinds[parts[at]]
            listed = {"apiVersion": f"{GROUP}/{VERSION}", "kind": f"{kind.info.kind}List", "metadata": {}}
            self._answer(200, {**listed, "items": [hostile_object(kind)] * 2})
        else:
            self._answer(200, hostile_object(kinds[parts[at]]))

    def do_POST(self) -> None:
        body = self._body()
        if self.server.refuses:
            self._refuse()
        elif self.path.endswith("selfsubjectreviews"):
            self._answer(201, {**body, "status": {"userInfo": {"username": HOSTILE, "groups": [HOSTILE]}}})
        elif self.path.endswith("selfsubjectaccessreviews"):
            self._answer(201, {**body, "status": {"allowed": True, "reason": HOSTILE}})
        else:
            self._answer(201, body)

    def do_PATCH(self) -> None:
        self._body()
        self.do_GET()

    def do_PUT(self) -> None:
        self._body()
        self.do_GET()

    def do_DELETE(self) -> None:
        self._body()
        self.do_GET()

    def _body(self) -> dict[str, Any]:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            read = json.loads(data)
        except ValueError:
            read = {}
        return read if isinstance(read, dict) else {}

    def _refuse(self) -> None:
        self._answer(403, {"kind": "Status", "status": "Failure", "reason": HOSTILE, "message": HOSTILE, "code": 403})

    def _answer(self, status: int, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.server.asked.set()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Says nothing."""


@contextmanager
def hostile_server(folder: Path, *, refuses: bool) -> Iterator[HostileServer]:
    """A cluster that answers with hostile objects, or refuses with a hostile message."""
    server = _Server()
    server.refuses = refuses
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    kubeconfig = folder / f"kubeconfig-{refuses}"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "it",
                "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                "users": [{"name": "it", "user": {}}],
                "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": "team"}}],
            }
        )
    )
    try:
        yield HostileServer(kubeconfig, server.asked)
    finally:
        server.shutdown()
        server.server_close()
