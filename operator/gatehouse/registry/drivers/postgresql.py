"""PostgreSQL by psycopg."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gatehouse.registry.address import Target
from gatehouse.registry.failures import Cause

__all__ = ["URL", "cause_of", "connect", "migration_lock"]

URL = "postgresql+psycopg://"

_LOCK = int.from_bytes(hashlib.sha256(b"gatehouse-migrations").digest()[:8], signed=True)
_LOCK_NOT_AVAILABLE = "55P03"
_T = TypeVar("_T")
_SAFE = "scram-sha-256,md5"
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")

_SQLSTATE: dict[str, Cause] = {
    "25006": Cause.READ_ONLY,
    "28000": Cause.DENIED,
    "28P01": Cause.DENIED,
    "42501": Cause.DENIED,
    "3D000": Cause.NOT_FOUND,
    "42P01": Cause.NO_TABLE,
    "40001": Cause.CONTENTION,
    "40P01": Cause.CONTENTION,
    "55P03": Cause.CONTENTION,
    "23505": Cause.DUPLICATE,
    "57014": Cause.UNAVAILABLE,
    "57P01": Cause.UNAVAILABLE,
    "57P02": Cause.UNAVAILABLE,
    "57P03": Cause.UNAVAILABLE,
    "57P05": Cause.UNAVAILABLE,
    "25P03": Cause.UNAVAILABLE,
    "57P04": Cause.NOT_FOUND,
    "XX001": Cause.DAMAGED,
    "XX002": Cause.DAMAGED,
}
_SQLSTATE_CLASS: dict[str, Cause] = {
    "08": Cause.UNAVAILABLE,
    "53": Cause.UNAVAILABLE,
    "58": Cause.UNAVAILABLE,
    "22": Cause.REJECTED,
    "23": Cause.REJECTED,
    "54": Cause.REJECTED,
}
_STARTUP = (
    (re.compile(r"authentication method requirement .* failed"), Cause.INSECURE),
    (re.compile(r"certificate|SSL was required|does not support SSL"), Cause.CERTIFICATE),
    (
        re.compile(r"authentication failed|no pg_hba\.conf entry|role .* (does not exist|is not permitted)"),
        Cause.DENIED,
    ),
    (re.compile(r"permission denied for database|no password supplied"), Cause.DENIED),
    (re.compile(r'database ".*" does not exist'), Cause.NOT_FOUND),
)
"""libpq tells no SQLSTATE when a connection is refused, only the server's words."""


class _ImpatientConnection(psycopg.Connection[Any]):
    """Gives a server up that is silent for too long: libpq itself would wait for ever."""

    silence: float = 45

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        started = monotonic()
        try:
            return super().wait(gen, interval=interval, timeout=self.silence if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if error.sqlstate is None and timeout is None and monotonic() - started >= self.silence:
                self.pgconn.finish()
                raise psycopg.OperationalError(f"no answer within {self.silence} s") from None
            raise


def connect(target: Target) -> psycopg.Connection[Any]:
    """A connection whose statements the server ends in time."""
    password = target.credentials.password
    connection = _ImpatientConnection.connect(
        host=target.address.host,
        port=target.address.port,
        user=target.address.username,
        password=password or "",
        dbname=target.address.database,
        connect_timeout=target.limits.connect,
        passfile="/dev/null",
        gssencmode="disable",
        application_name="gatehouse",
        autocommit=True,
        sslmode="verify-full" if target.address.tls else "disable",
        sslrootcert=_authorities(target) if target.address.tls else None,
        # Without encryption a server, or who poses as it, gets no password in clear; md5 shows a hash of it only.
        require_auth=_SAFE if password and not target.address.tls else None,
    )
    connection.silence = target.limits.silence
    connection.execute(
        f"SET statement_timeout = {target.limits.statement * 1000}; SET lock_timeout = {target.limits.lock * 1000}; "
        "SET TIME ZONE 'UTC'"
    )
    connection.autocommit = False
    return connection


def _authorities(target: Target) -> str:
    """The registry's, or the system's: libpq's own OpenSSL looks where the machine that built it had them."""
    if target.credentials.ca_pem:
        return str(_certificates_file(target.credentials.ca_pem, target.data_dir))
    known = ssl.get_default_verify_paths()
    files = (os.environ.get(known.openssl_cafile_env), known.cafile, *_BUNDLES)
    return next((file for file in files if file and Path(file).is_file()), "system")


def cause_of(error: BaseException | None) -> tuple[Cause, str]:
    """By the SQLSTATE, or by the server's words when it refused the connection."""
    if not isinstance(error, psycopg.Error):
        return Cause.OTHER, type(error).__name__
    state = error.sqlstate
    if state is not None:
        cause = _SQLSTATE.get(state) or _SQLSTATE_CLASS.get(state[:2], Cause.OTHER)
        return cause, f"{error.diag.message_primary} (SQLSTATE {state})"
    words = str(error)
    return next((cause for pattern, cause in _STARTUP if pattern.search(words)), Cause.UNAVAILABLE), words


@contextmanager
def migration_lock(connection: Connection, seconds: int) -> Iterator[bool]:
    """An advisory lock of this database that ends with the transaction."""
    with connection.begin():
        connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        try:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            yield False
            return
        yield True


def _certificates_file(ca_pem: str, data_dir: Path) -> Path:
    """libpq reads certificates from a file only."""
    file = data_dir / "ca" / f"{hashlib.sha256(ca_pem.encode()).hexdigest()}.pem"
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(ca_pem)
        unfinished.replace(file)
    return file
