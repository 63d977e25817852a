"""A server that asks for the password in clear gets none, whoever it is: its registry names the host."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import pytest

from gatehouse.domain.common.errors import Waiting
from gatehouse.registry.address import Address, Credentials, DatabaseLimits, Target, target_of_url
from gatehouse.registry.readers import open_trails

PASSWORD: Final = "s3cr3t-of-the-registry"
PLUGINS: Final = (
    "mysql_clear_password",
    "dialog",
    "mysql_old_password",
    "sha256_password",
    "caching_sha2_password",
    "authentication_ldap_simple_client",
    "auth_gssapi_client",
    "never-heard-of",
)


class _Thief(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    wants: str = ""
    heard: bytearray = bytearray()


class _Mysql(socketserver.BaseRequestHandler):
    server: _Thief

    def handle(self) -> None:
        capabilities = 0x00000200 | 0x00008000 | 0x00080000 | 0x00000008 | 0x00002000
        self._send(
            0,
            b"\x0a8.0.36\0"
            + struct.pack("<I", 7)
            + b"saltsalt\0"
            + struct.pack("<HBHHB", capabilities & 0xFFFF, 45, 2, capabilities >> 16, 21)
            + bytes(10)
            + b"saltsaltsalt\0"
            + self.server.wants.encode()
            + b"\0",
        )
        self._hear()
        self._send(2, b"\xfe" + self.server.wants.encode() + b"\0" + b"saltsaltsaltsaltsalt\0")
        self._hear()
        for sequence in (4, 6):
            self._send(sequence, b"\x01\x04")  # the whole authentication, please
            self._hear()

    def _send(self, sequence: int, data: bytes) -> None:
        self.request.sendall(struct.pack("<I", len(data))[:3] + bytes([sequence]) + data)

    def _hear(self) -> None:
        self.server.heard += self.request.recv(65536)


class _Postgres(socketserver.BaseRequestHandler):
    server: _Thief

    def handle(self) -> None:
        first = self.request.recv(65536)
        if first[4:8] == b"\x04\xd2\x16\x2f":  # may it be encrypted?
            self.request.sendall(b"N")
            self.request.recv(65536)
        self.request.sendall(b"R\0\0\0\x08\0\0\0\x03")  # AuthenticationCleartextPassword
        self.server.heard += self.request.recv(65536)


@contextmanager
def thief(handler: type[socketserver.BaseRequestHandler], wants: str = "") -> Iterator[_Thief]:
    with _Thief(("127.0.0.1", 0), handler) as server:
        server.wants, server.heard = wants, bytearray()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


def target(kind: Literal["mysql", "postgresql"], server: _Thief, folder: Path) -> Target:
    return Target(
        address=Address(
            kind=kind, host="127.0.0.1", port=server.server_address[1], database="d", username="u", tls=False
        ),
        credentials=Credentials(PASSWORD),
        limits=DatabaseLimits(connect=5, silence=5),
        data_dir=folder,
    )


@pytest.mark.parametrize("plugin", PLUGINS)
def test_mysql_by_any_plugin(plugin: str, tmp_path: Path) -> None:
    with thief(_Mysql, plugin) as server:
        with pytest.raises(Waiting) as refused, open_trails(target("mysql", server, tmp_path)):
            pass
        assert refused.value.reason == "DatabaseInsecure"
        assert plugin in refused.value.message
        assert "tls: Required" in refused.value.remedy
        assert PASSWORD.encode() not in server.heard


def test_postgresql(tmp_path: Path) -> None:
    with thief(_Postgres) as server:
        with pytest.raises(Waiting) as refused, open_trails(target("postgresql", server, tmp_path)):
            pass
        assert refused.value.reason == "DatabaseInsecure"
        assert PASSWORD.encode() not in server.heard


@pytest.mark.parametrize(
    ("url", "encrypted"),
    [
        ("postgresql+psycopg://u:p@db.example/d", True),
        ("mysql+pymysql://u:p@10.0.0.7/d", True),
        ("mysql+pymysql://u:p@db.example/d?tls=disabled", False),
        ("mysql+pymysql://u:p@127.0.0.1/d", False),
        ("postgresql+psycopg://u:p@[::1]/d", False),
        ("postgresql+psycopg://u:p@localhost/d", False),
        ("postgresql+psycopg://u:p@localhost.evil.example/d", True),
    ],
)
def test_a_url_is_encrypted_unless_it_stays_on_this_machine_or_says_otherwise(
    url: str, encrypted: bool, tmp_path: Path
) -> None:
    assert target_of_url(url, data_dir=tmp_path).address.tls is encrypted


def test_a_server_without_tls_gets_nothing_where_tls_is_required(tmp_path: Path) -> None:
    for kind, handler in (("mysql", _Mysql), ("postgresql", _Postgres)):
        with thief(handler, "mysql_clear_password") as server:
            plain = target(kind, server, tmp_path)  # type: ignore[arg-type]  # of the two
            address = Address(
                kind=plain.address.kind, host="127.0.0.1", port=plain.address.port, database="d", username="u"
            )
            strict = Target(address=address, credentials=plain.credentials, limits=plain.limits, data_dir=tmp_path)
            with pytest.raises(Waiting) as refused, open_trails(strict):
                pass
            assert refused.value.reason == "DatabaseCertificateRejected"
            assert PASSWORD.encode() not in server.heard
