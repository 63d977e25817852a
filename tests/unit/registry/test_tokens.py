"""Passwords that are tokens of a cloud's IAM: who gets them, how long they may be, and what is said when they end."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Self

import orjson
import pytest
from botocore.credentials import Credentials as AwsCredentials
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.common.errors import Waiting
from gatehouse.registry import pool
from gatehouse.registry.address import Address, Credentials, DatabaseLimits, Target, target_of_url
from gatehouse.registry.connector import Connector
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.readers import open_trails
from gatehouse.registry.tokens import LONGEST_TOKEN, ends_at, says_expired
from gatehouse_local.pki import ensure_certificate
from registrycontract import a_registry

Kind = Literal["mysql", "postgresql"]
KINDS: tuple[Kind, ...] = ("mysql", "postgresql")
SERVED = {"host": "db.example.com", "database": "registry", "username": "gatehouse"}
TOKEN_SPEC = {**SERVED, "auth": "Token", "passwordSecret": {"name": "db", "key": "token"}}


def jwt(claims: object, *, filling: int = 0) -> str:
    """A token as Entra makes it; its signature is none."""
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    head, body = (urlsafe_b64encode(orjson.dumps(part)).decode().rstrip("=") for part in parts)
    return f"{head}.{body}.{'s' * (filling or 342)}"


def rds_token(at: str = "20260101T000000Z", seconds: int = 900, *, filling: int = 0) -> str:
    """As `aws rds generate-db-auth-token` writes it."""
    return (
        f"db.example.com:3306/?Action=connect&DBUser=gatehouse&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={at}"
        f"&X-Amz-SignedHeaders=host&X-Amz-Expires={seconds}&X-Amz-Security-Token={'t' * filling}"
        f"&X-Amz-Signature={'0' * 64}"
    )


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENDS: list[tuple[str, datetime | None]] = [
    (rds_token("20260101T114500Z"), NOON),
    (rds_token("20260101T114500Z", filling=1200), NOON),
    (rds_token("20261301T000000Z"), None),
    (rds_token("20260101T114500Z", 999_999), datetime(2026, 1, 13, 1, 31, 39, tzinfo=UTC)),
    (rds_token("99991231T235959Z"), None),
    (jwt({"exp": int(NOON.timestamp()), "upn": "gatehouse@example.com"}), NOON),
    (jwt({"exp": NOON.timestamp(), "groups": ["g" * 36] * 200}, filling=512), NOON),
    (jwt({"exp": True}), None),
    (jwt({"exp": -1}), None),
    (jwt({"exp": 10**18}), None),
    (jwt({"exp": "tomorrow"}), None),
    (jwt(["exp"]), None),
    (jwt({}), None),
    ("ya29.a0AfB_byC-google", None),
    ("a password", None),
    ("X-Amz-Date=20260101T114500Z", None),
    ("", None),
    (rds_token("20260101T114500Z", filling=LONGEST_TOKEN), None),
]


@pytest.mark.parametrize(("token", "end"), ENDS)
def test_a_token_says_when_it_ends(token: str, end: datetime | None) -> None:
    assert ends_at(token) == end


def test_the_form_is_that_of_botocore() -> None:
    session = Session()
    session._credentials = AwsCredentials("AKIAEXAMPLE", "secret", "session-token")
    client = session.create_client("rds", region_name="eu-west-1")
    before = datetime.now(UTC).replace(microsecond=0)
    token = client.generate_db_auth_token(DBHostname="db.example.com", Port=3306, DBUsername="gatehouse")
    end = ends_at(token)
    assert end is not None
    assert before + timedelta(minutes=15) <= end <= datetime.now(UTC) + timedelta(minutes=15)


@given(st.one_of(st.text(), st.text(alphabet="abcXYZ019-_.=&?", max_size=200), st.builds(jwt, st.from_type(dict))))
def test_whatever_a_password_is_it_is_read_without_an_error(text: str) -> None:
    found = ends_at(text)
    assert found is None or found.tzinfo is UTC


def test_a_servers_words_about_an_expired_token_are_known() -> None:
    assert says_expired("The access token has expired. Acquire a new token and retry.")
    assert says_expired("Access denied: expired authentication token")
    assert not says_expired("Access denied for user 'gatehouse'@'10.0.0.7' (using password: YES)")
    assert not says_expired("the tokens of this server never expire, but the password is wrong")


# Servers that ask for the token as it is


class Clear:
    """A server that asks for the password in clear over TLS, keeps what it hears, and refuses."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        files = ensure_certificate(folder / "pki", authority="test")
        self.authority = files.authority.read_text()
        self.heard = b""
        self.kind = kind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files.certificate, files.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            connection.settimeout(5)
            with connection, contextlib.suppress(OSError):
                self._mysql(connection) if self.kind == "mysql" else self._postgresql(connection)

    def _mysql(self, connection: socket.socket) -> None:
        flags = 0x00000200 | 0x00000800 | 0x00008000 | 0x00080000 | 0x00200000 | 0x00000008 | 0x00002000
        greeting = b"\x0a8.0.36\0" + struct.pack("<I", 7) + b"saltsalt\0"
        greeting += struct.pack("<HBHHB", flags & 0xFFFF, 45, 2, flags >> 16, 21) + bytes(10)
        self._packet(connection, 0, greeting + b"saltsaltsalt\0mysql_native_password\0")
        self._read_packet(connection)
        with self._context.wrap_socket(connection, server_side=True) as encrypted:
            self._read_packet(encrypted)
            self._packet(encrypted, 3, b"\xfemysql_clear_password\0")
            self.heard = self._read_packet(encrypted)
            denied = b"Access denied for user 'gatehouse'@'127.0.0.1' (using password: YES)"
            self._packet(encrypted, 5, b"\xff" + struct.pack("<H", 1045) + b"#28000" + denied)

    def _postgresql(self, connection: socket.socket) -> None:
        connection.recv(8)
        connection.sendall(b"S")
        with self._context.wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(65_536)
            encrypted.sendall(b"R\0\0\0\x08\0\0\0\x03")
            (length,) = struct.unpack("!xI", self._exactly(encrypted, 5))
            self.heard = self._exactly(encrypted, length - 4)
            fields = b'SFATAL\0VFATAL\0C28000\0MPAM authentication failed for user "gatehouse"\0\0'
            encrypted.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    @staticmethod
    def _packet(connection: socket.socket, sequence: int, data: bytes) -> None:
        connection.sendall(struct.pack("<I", len(data))[:3] + bytes([sequence]) + data)

    def _read_packet(self, connection: socket.socket) -> bytes:
        header = self._exactly(connection, 4)
        return self._exactly(connection, int.from_bytes(header[:3], "little"))

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        found = b""
        while len(found) < count:
            some = connection.recv(count - len(found))
            if not some:
                raise ConnectionError
            found += some
        return found


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clear]:
    with Clear(request.param, tmp_path) as running:
        yield running


def target(server: Clear, password: str, folder: Path, *, token: bool = True, ca_pem: str | None = None) -> Target:
    address = Address(
        kind=server.kind, host="127.0.0.1", port=server.port, database="d", username="gatehouse", token=token
    )
    credentials = Credentials(password, ca_pem or server.authority)
    return Target(
        address=address, credentials=credentials, limits=DatabaseLimits(connect=5, silence=5), data_dir=folder
    )


def refused(given: Target) -> Waiting:
    with pytest.raises(Waiting) as error, open_trails(given):
        pass
    return error.value


@pytest.mark.parametrize("filling", [0, 300, 1_200, 5_000, 20_000])
def test_a_token_of_any_length_arrives_whole(server: Clear, filling: int, tmp_path: Path) -> None:
    token = rds_token("29990101T000000Z", filling=filling)
    error = refused(target(server, token, tmp_path))
    assert server.heard == token.encode() + b"\0"
    assert error.reason == "DatabaseAccessDenied"
    assert token not in error.message


def test_a_token_that_has_ended_is_told_as_that(server: Clear, tmp_path: Path) -> None:
    for token, ended in ((rds_token("20200101T000000Z"), "2020-01-01T00:15:00Z"), (jwt({"exp": 0}), "1970-01-01")):
        error = refused(target(server, token, tmp_path))
        assert error.reason == "DatabaseTokenExpired"
        assert f"it ended at {ended}" in error.message
        assert "Renew the Secret" in error.remedy
        assert token not in str(error)


def test_a_password_that_looks_like_an_ended_token_is_a_password(server: Clear, tmp_path: Path) -> None:
    error = refused(target(server, jwt({"exp": 0}), tmp_path, token=False))
    assert error.reason == ("DatabaseInsecure" if server.kind == "mysql" else "DatabaseAccessDenied")


def test_a_password_is_given_to_mysql_in_clear_by_nobody(tmp_path: Path) -> None:
    with Clear("mysql", tmp_path) as server:
        error = refused(target(server, "hunter2-hunter2", tmp_path, token=False))
        assert error.reason == "DatabaseInsecure"
        assert "mysql_clear_password" in error.message
        assert "auth: Token" in error.remedy
        assert b"hunter2" not in server.heard


def test_a_server_with_another_certificate_gets_no_token(server: Clear, tmp_path: Path) -> None:
    other = ensure_certificate(tmp_path / "other", authority="other").authority.read_text()
    error = refused(target(server, rds_token(), tmp_path, ca_pem=other))
    assert error.reason == "DatabaseCertificateRejected"
    assert server.heard == b""


# Renewal


class Kept:
    """A database that is open; ``with_`` are the passwords it was given, in order."""

    def __init__(self, target: Target, *, metrics: object) -> None:
        del metrics
        self.with_ = [target.credentials.password]
        self.closed = False

    async def ready(self) -> None:
        pass

    def renew(self, credentials: Credentials) -> None:
        self.with_.append(credentials.password)

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatabasePool:
    monkeypatch.setattr(pool, "Database", Kept)
    return DatabasePool(data_dir=tmp_path)


async def opened(databases: DatabasePool, registry: ModelRegistry, password: str, ca_pem: str | None = None) -> Kept:
    rows = await databases.open(registry, password=password, ca_pem=ca_pem)
    found: object = rows._database
    assert isinstance(found, Kept)
    return found


@pytest.mark.parametrize("kind", ["mysql", "postgres"])
async def test_a_renewed_token_is_for_new_connections_and_the_open_one_stays(
    databases: DatabasePool, kind: str
) -> None:
    registry = a_registry(**{kind: TOKEN_SPEC})
    first = await opened(databases, registry, "one")
    again = await opened(databases, registry, "two")
    assert again is first
    assert (first.with_, first.closed) == (["one", "two"], False)
    assert await opened(databases, registry, "two") is first
    assert first.with_ == ["one", "two"]
    await databases.aclose()


async def test_a_changed_password_is_tried_at_once(databases: DatabasePool) -> None:
    registry = a_registry(mysql=SERVED)
    first = await opened(databases, registry, "one")
    second = await opened(databases, registry, "two")
    await databases.aclose()
    assert second is not first
    assert (first.closed, second.with_) == (True, ["two"])


async def test_a_token_opens_nothing_that_another_registrys_token_opened(databases: DatabasePool) -> None:
    """Who has the token of the one has not that of the other."""
    one, two = (a_registry(name, postgres=TOKEN_SPEC) for name in ("one", "two"))
    shared = await opened(databases, one, "A")
    assert await opened(databases, two, "A") is shared
    renewed = await opened(databases, one, "B")
    assert renewed is not shared, "the other registry has not shown the new token"
    assert shared.with_ == ["A"]
    assert await opened(databases, two, "B") is renewed
    await databases.aclose()
    assert shared.closed


async def test_another_authority_is_another_connection(databases: DatabasePool) -> None:
    registry = a_registry(postgres=TOKEN_SPEC)
    first = await opened(databases, registry, "one", "ca one")
    assert await opened(databases, registry, "two", "ca two") is not first
    await databases.aclose()
    assert first.closed


def test_neither_the_old_nor_the_new_token_is_in_words(tmp_path: Path) -> None:
    address = Address(kind="mysql", host="127.0.0.1", port=1, database="d", username="u", token=True)
    connector = Connector(
        Target(address=address, credentials=Credentials("old-token"), limits=DatabaseLimits(), data_dir=tmp_path)
    )
    connector.renew(Credentials("new-token"))
    assert connector._clean("refused old-token and new-token") == "refused *** and ***"


def test_a_url_may_say_that_its_password_is_a_token(tmp_path: Path) -> None:
    for url, token in (
        ("mysql+pymysql://u:p@db.example/d?auth=token", True),
        ("mysql+pymysql://u:p@db.example/d?auth=token&tls=disabled", False),
        ("mysql+pymysql://u:p@db.example/d", False),
    ):
        assert target_of_url(url, data_dir=tmp_path).address.token is token
