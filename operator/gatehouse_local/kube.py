"""The few requests that the setup of a cluster needs: server-side apply, get, wait.

Uses only the standard library, because the import of a whole Kubernetes client costs more than all of these requests.
"""

from __future__ import annotations

import http
import http.client
import json
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gatehouse_local.errors import ApiRefused, NotReady
from gatehouse_local.net import LOOPBACK

__all__ = ["FIELD_MANAGER", "KubeClient", "trust"]

FIELD_MANAGER = "gatehouse-local"
_TIMEOUT_SECONDS = 30
_PROBE_SECONDS = 0.02
_LONGEST_IDLE_SECONDS = 60.0
"""After 90 s without a request the API server closes the connection."""
_MOST_REPEATS = 10
_LONGEST_PAUSE_SECONDS = 5.0


def trust(authority: Path) -> ssl.SSLContext:
    """A TLS context that trusts exactly this certificate authority."""
    return ssl.create_default_context(cafile=str(authority))


@dataclass(frozen=True, slots=True)
class _Resource:
    plural: str
    namespaced: bool


class KubeClient:
    """A blocking client of one API server with one user's token. Not for use by several threads."""

    def __init__(self, *, port: int, token: str, tls: ssl.SSLContext, host: str = LOOPBACK) -> None:
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=tls)
        self._used = time.monotonic()
        self._resources: dict[tuple[str, str], _Resource] = {}

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Sends one request and returns the object in the response.

        Retries when the server requests a retry (429 with Retry-After), as while the server's cache of a new kind is
        not ready.

        Raises:
            ApiRefused: the server returned an error.
            OSError: the server was not reached.
        """
        status, retry_after, content = self._send(method, path, body, content_type=content_type)
        for _ in range(_MOST_REPEATS):
            if status != http.HTTPStatus.TOO_MANY_REQUESTS or not retry_after.isdigit():
                break
            time.sleep(min(float(retry_after), _LONGEST_PAUSE_SECONDS))
            status, retry_after, content = self._send(method, path, body, content_type=content_type)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise ApiRefused(method, path, status, _message(content))
        answer: dict[str, Any] = json.loads(content)
        return answer

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, content_type: str
    ) -> tuple[int, str, bytes]:
        """Status, Retry-After and body of the answer."""
        headers = {**self._headers, "Content-Type": content_type}
        if time.monotonic() - self._used > _LONGEST_IDLE_SECONDS:
            self._connection.close()  # the request opens another
        try:
            self._connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
            response = self._connection.getresponse()
            answer = response.status, response.headers.get("Retry-After", ""), response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        self._used = time.monotonic()
        return answer

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Applies one object server-side as `gatehouse-local`, and takes over fields that others set."""
        path = self.path_of(manifest)
        return self.request(
            "PATCH",
            f"{path}?fieldManager={FIELD_MANAGER}&force=true",
            manifest,
            content_type="application/apply-patch+yaml",
        )

    def path_of(self, manifest: Mapping[str, Any]) -> str:
        """The request path of an object; reads the plural of its kind from the server."""
        api_version, kind = manifest["apiVersion"], manifest["kind"]
        resource = self._resources.get((api_version, kind))
        if resource is None:
            self._discover(api_version)
            resource = self._resources.get((api_version, kind))
        if resource is None:
            raise ApiRefused("GET", _root(api_version), 404, f"the API server has no kind {kind} in {api_version}")
        metadata = manifest["metadata"]
        scope = f"/namespaces/{quote(metadata.get('namespace', 'default'))}" if resource.namespaced else ""
        return f"{_root(api_version)}{scope}/{resource.plural}/{quote(metadata['name'])}"

    def wait_served(self, definitions: Iterable[Mapping[str, Any]], *, seconds: float = 30) -> None:
        """Waits until CustomResourceDefinitions are Established and their kinds can be discovered.

        Raises:
            NotReady: a definition is not ready after `seconds`.
        """
        deadline = time.monotonic() + seconds
        for definition in definitions:
            while not self._is_served(definition):
                if time.monotonic() >= deadline:
                    name = definition["metadata"]["name"]
                    raise NotReady(f"the CustomResourceDefinition {name} is not served after {seconds:.0f} s")
                time.sleep(_PROBE_SECONDS)

    def _is_served(self, definition: Mapping[str, Any]) -> bool:
        current = self.request("GET", self.path_of(definition))
        conditions = current.get("status", {}).get("conditions") or []
        if not any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions):
            return False
        spec = current["spec"]
        versions = [f"{spec['group']}/{version['name']}" for version in spec["versions"] if version["served"]]
        try:
            for version in versions:
                self._discover(version)
        except ApiRefused:
            return False
        return all((version, spec["names"]["kind"]) in self._resources for version in versions)

    def _discover(self, api_version: str) -> None:
        for entry in self.request("GET", _root(api_version))["resources"]:
            if "/" not in entry["name"]:
                resource = _Resource(entry["name"], entry["namespaced"])
                self._resources[api_version, entry["kind"]] = resource


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace")
