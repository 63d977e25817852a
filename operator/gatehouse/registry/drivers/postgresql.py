"""PostgreSQL through psycopg, directly or through a pool such as pgbouncer, in a database of any encoding.

A pool of connections in transaction mode gives each transaction another session of the server. The driver therefore
keeps no state in a session: statements are not prepared, each transaction sets its time limits, and the lock of
migrations belongs to a transaction. https://www.pgbouncer.org/features.html
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gatehouse.registry.address import DatabaseLimits, Target
from gatehouse.registry.failures import Cause

__all__ = ["URL", "begin", "cause_of", "connect", "migration_lock"]

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
    "3F000": Cause.NO_SCHEMA,
    "22021": Cause.UNENCODABLE,
    "22P05": Cause.UNENCODABLE,
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
_POOLED = (
    (re.compile(r"statement pooling mode"), Cause.SETTING),
    (re.compile(r"no such database"), Cause.NOT_FOUND),
    (re.compile(r"no such user|auth(entication)? failed"), Cause.DENIED),
)
"""Messages of a pool in place of the server, as a violation of the protocol (08P01)."""
_STARTUP = (
    (re.compile(r"authentication method requirement .* failed"), Cause.INSECURE),
    (re.compile(r"certificate|SSL was required|does not support SSL"), Cause.CERTIFICATE),
    (
        re.compile(
            r"no pg_hba\.conf entry .*(no encryption|SSL off)|SSL (connection is )?required|requires? SSL"
            r"|connection is insecure|sslmode=require"
        ),
        Cause.TLS_REQUIRED,
    ),
    (
        re.compile(
            r'conversion between .* is not supported|value for parameter "client_encoding"|unsupported.*encoding'
        ),
        Cause.ENCODING,
    ),
    (re.compile(r"unsupported startup parameter"), Cause.SETTING),
    *_POOLED,
    (
        re.compile(r"authentication failed|no pg_hba\.conf entry|role .* (does not exist|is not permitted)"),
        Cause.DENIED,
    ),
    (re.compile(r"permission denied for database|no password supplied"), Cause.DENIED),
    (re.compile(r'database ".*" does not exist'), Cause.NOT_FOUND),
)
"""libpq reports no SQLSTATE for a refused connection, only the server's message."""


class _ImpatientConnection(psycopg.Connection[Any]):
    """Abandons a server that is silent for too long: libpq itself has no time limit."""

    silence: float = 45
    per_transaction: Mapping[str, str] | None = None
    """Time limits in milliseconds, by the server's name of each, where a pool shares the session."""

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
    """A connection whose statements the server ends within their time limit."""
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
        # A SQL_ASCII database would otherwise return bytes, and a LATIN1 database refuse characters that it lacks.
        client_encoding="UTF8",
        prepare_threshold=None,
        autocommit=True,
        sslmode="verify-full" if target.address.tls else "disable",
        sslrootcert=_authorities(target) if target.address.tls else None,
        # Without encryption a server, or an impostor, gets no password in clear text; md5 reveals only a hash.
        require_auth=_SAFE if password and not target.address.tls else None,
    )
    try:
        connection.silence = target.limits.silence
        times = _times(target.limits)
        # Pools carry these two settings over to the next session, because PostgreSQL reports them.
        connection.execute("SET TIME ZONE 'UTC'; SET datestyle = 'ISO, YMD'")
        if _is_pooled(connection):
            connection.per_transaction = times
        else:
            connection.execute("; ".join(f"SET {name} = {value}" for name, value in times.items()))
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection


def begin(connection: Connection) -> None:
    """Sets the time limits of a transaction where the next transaction may have another session."""
    driver = connection.connection.driver_connection
    times: Mapping[str, str] | None = getattr(driver, "per_transaction", None)
    if times is not None:
        calls = ", ".join(f"set_config('{name}', :{name}, true)" for name in times)
        connection.execute(text(f"SELECT {calls}"), times)


def _times(limits: DatabaseLimits) -> Mapping[str, str]:
    """The time limits that the server keeps, in milliseconds, by the server's name of each."""
    seconds = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    return {name: str(value * 1000) for name, value in seconds.items()}


def _is_pooled(connection: psycopg.Connection[Any]) -> bool:
    """Whether the answering process differs from the greeting one: a pool greets with its own process number."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is None or row[0] != connection.info.backend_pid


def _authorities(target: Target) -> str:
    """The registry's authorities, or the system's: libpq's own OpenSSL searches the paths of its build machine."""
    if target.credentials.ca_pem:
        return str(_certificates_file(target.credentials.ca_pem, target.data_dir))
    known = ssl.get_default_verify_paths()
    files = (os.environ.get(known.openssl_cafile_env), known.cafile, *_BUNDLES)
    return next((file for file in files if file and Path(file).is_file()), "system")


def cause_of(error: BaseException | None) -> tuple[Cause, str]:
    """The cause by the SQLSTATE, or by the server's message for a refused connection."""
    if not isinstance(error, psycopg.Error):
        return Cause.OTHER, type(error).__name__
    state = error.sqlstate
    if state is not None:
        if state == "08P01":
            words = str(error.diag.message_primary)
            for pattern, pooled in _POOLED:
                if pattern.search(words):
                    return pooled, f"{words} (SQLSTATE {state})"
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
    """A file with the certificates: libpq reads them from a file only."""
    file = data_dir / "ca" / f"{hashlib.sha256(ca_pem.encode()).hexdigest()}.pem"
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(ca_pem)
        unfinished.replace(file)
    return file
