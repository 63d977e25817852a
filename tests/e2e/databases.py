"""The databases that overlays bring, and which certificate each of them serves."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from e2e.installation import Installation
from e2e.machine import Machine, until
from gatehouse.domain.common.certificates import authorities, issue, new_authority_name

__all__ = ["DATABASES", "ShippedDatabase", "renewed_while_it_is_used"]

TLS = "model-registry-db-tls"
_READ_SECONDS = 240.0
"""A kubelet shows a changed Secret after a minute or two, and the server reads it at its next probe."""
_SSL_REQUEST = struct.pack(">ii", 8, 80877103)
_CAPABILITIES = 0x00000200 | 0x00000800 | 0x00008000 | 0x00080000
"""Of MySQL's protocol: 4.1, TLS, its way to authenticate, plugins."""


@dataclass(frozen=True, kw_only=True)
class ShippedDatabase:
    """The database of an overlay: where it is, and where its registry finds what to trust."""

    namespace: str
    port: int
    connection: tuple[str, str]
    """Namespace and name of the Secret that the registry names."""

    @property
    def host(self) -> str:
        """The name that the registry connects to."""
        return f"model-registry-db.{self.namespace}.svc"

    def secret(self, node: Machine) -> dict[str, bytes]:
        """Certificate, key and authorities."""
        return _decoded(node.get("secret", TLS, f"--namespace={self.namespace}"))

    def trusted(self, node: Machine) -> str:
        """The authorities that the registry trusts."""
        namespace, name = self.connection
        return _decoded(node.get("secret", name, f"--namespace={namespace}"))["ca.crt"].decode()

    def served(self, node: Machine) -> bytes:
        """The certificate that the server serves (DER), checked as the operator checks it."""
        service = node.get("service", "model-registry-db", f"--namespace={self.namespace}")
        context = ssl.create_default_context(cadata=self.trusted(node))
        with socket.create_connection((service["spec"]["clusterIP"], self.port), timeout=10) as plain:
            _ask_for_tls(plain, mysql=self.port == 3306)
            with context.wrap_socket(plain, server_hostname=self.host) as encrypted:
                found = encrypted.getpeercert(binary_form=True)
        assert found is not None
        return found

    def wait_served(self, node: Machine) -> None:
        """Wait until the server serves what its Secret has."""
        wanted = x509.load_pem_x509_certificate(self.secret(node)["tls.crt"]).public_bytes(Encoding.DER)
        until(lambda: True if self.served(node) == wanted else None, seconds=_READ_SECONDS, pause=2.0)

    def containers(self, node: Machine) -> dict[str, int]:
        """The Pods that are not on their way out, and how often the server was started anew in each."""
        pods = node.get("pods", f"--namespace={self.namespace}", "--selector=app=model-registry-db")["items"]
        return {
            each["metadata"]["uid"]: each["status"]["containerStatuses"][0]["restartCount"]
            for each in pods
            if "deletionTimestamp" not in each["metadata"]
        }

    def let_end_soon(self, node: Machine) -> None:
        """Put a certificate there that ends in a month."""
        now, there = datetime.now(UTC), self.secret(node)
        names = x509.load_pem_x509_certificate(there["tls.crt"]).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        made = issue(
            authority=new_authority_name("soon"),
            subject=TLS,
            usage="server",
            names=names.value.get_values_for_type(x509.DNSName),
            now=now,
            validity=timedelta(days=30),
        )
        trusted = authorities(made.authority, there["ca.crt"], now=now)
        values = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": trusted}
        patch = json.dumps({"stringData": {key: value.decode() for key, value in values.items()}})
        node.kubectl("patch", "secret", TLS, f"--namespace={self.namespace}", "--type=merge", f"--patch={patch}")

    def renew(self, node: Machine) -> str:
        """Have done now what is done each week; what it says."""
        name, where = "renewal-now", f"--namespace={self.namespace}"
        node.kubectl("create", "job", name, where, "--from=cronjob/gatehouse-credentials-renewal")
        node.wait(self.namespace, f"job/{name}", "condition=complete", seconds=120)
        said = node.logs(self.namespace, f"job/{name}")
        node.kubectl("delete", "job", name, where)
        return said


DATABASES = {
    "rhoai": ShippedDatabase(
        namespace="private-ai", port=3306, connection=("rhoai-model-registries", "private-ai-registry-db-creds")
    ),
    "postgres": ShippedDatabase(
        namespace="model-registry", port=5432, connection=("model-registry", "model-registry-db-connection")
    ),
}
"""By overlay."""


def renewed_while_it_is_used(installation: Installation, database: ShippedDatabase) -> None:
    """Have a certificate that ends soon made anew, and see the server serve that, and the operator trust it."""
    node, (namespace, _) = installation.node, database.connection
    database.wait_served(node)
    before = database.containers(node)
    database.let_end_soon(node)
    said = database.renew(node)
    assert f"updated Secret {database.namespace}/{TLS}: it expires on" in said, said
    assert "PRIVATE" not in said
    made = database.secret(node)
    assert database.trusted(node).encode() == made["ca.crt"]
    assert len(x509.load_pem_x509_certificates(made["ca.crt"])) >= 2
    database.wait_served(node)
    assert database.containers(node) == before, "the server is not started anew for this"
    # The operator connects anew, and finds a certificate that it trusts.
    node.kubectl("rollout", "restart", "deployment/gatehouse-operator", "--namespace=gatehouse-system")
    installation.wait_operator()
    installation.wait_handled(installation.look_again())
    registry = node.get("modelregistries", f"--namespace={namespace}")["items"][0]["metadata"]["name"]
    node.wait(namespace, f"modelregistry/{registry}", "condition=DatabaseReady")
    assert f"kept Secret {database.namespace}/{TLS}" in database.renew(node)


def _ask_for_tls(plain: socket.socket, *, mysql: bool) -> None:
    if not mysql:
        plain.sendall(_SSL_REQUEST)
        assert plain.recv(1) == b"S", "the server speaks no TLS"
        return
    head = _exactly(plain, 4)
    _exactly(plain, int.from_bytes(head[:3], "little"))
    body = struct.pack("<IIB23x", _CAPABILITIES, 1 << 24, 45)
    plain.sendall(len(body).to_bytes(3, "little") + b"\x01" + body)


def _exactly(plain: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = plain.recv(length - len(found))
        assert more, "the server ended the connection"
        found += more
    return found


def _decoded(secret: dict[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in secret["data"].items()}
