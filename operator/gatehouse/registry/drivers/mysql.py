"""MariaDB and MySQL through pymysql, including clusters (Galera, group replication) and servers with unusual settings.

Tables use InnoDB whatever the server's default is, because MyISAM has no transactions. The driver refuses a statement
larger than the server accepts: the server itself would end the connection, which looks like an outage.
"""

from __future__ import annotations

import hashlib
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import pymysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import conversions
from pymysql.cursors import Cursor
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from gatehouse.registry.address import Target
from gatehouse.registry.failures import Cause

__all__ = ["URL", "begin", "cause_of", "connect", "migration_lock"]

URL = "mysql+pymysql://"

_CAUSES: dict[int, Cause] = {
    **dict.fromkeys((1020, 1205, 1213, 1412, 3058), Cause.CONTENTION),
    **dict.fromkeys((1290, 1792, 1836, 1874), Cause.READ_ONLY),
    **dict.fromkeys((1044, 1045, 1130, 1142, 1143, 1227, 1370, 1698, 1820, 1862, 4151), Cause.DENIED),
    1049: Cause.NOT_FOUND,
    1146: Cause.NO_TABLE,
    2026: Cause.CERTIFICATE,
    2059: Cause.INSECURE,
    **dict.fromkeys((1062, 1169, 1586), Cause.DUPLICATE),
    **dict.fromkeys((1048, 1264, 1265, 1292, 1366, 1406, 1118, 3140, 3819, 4025), Cause.REJECTED),
    **dict.fromkeys((1034, 1035, 1194, 1195, 1712, 1877), Cause.DAMAGED),
    **dict.fromkeys((0, 1021, 1037, 1040, 1041, 1042, 1043, 1047, 1053, 1077, 1079, 1080, 1114), Cause.UNAVAILABLE),
    **dict.fromkeys((1129, 1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184), Cause.UNAVAILABLE),
    1046: Cause.UNAVAILABLE,  # the database was dropped while connected, and may exist again
    **dict.fromkeys((1203, 1226, 1317, 1927, 1969, 3024, 4031), Cause.UNAVAILABLE),
    **dict.fromkeys(range(2000, 2026), Cause.UNAVAILABLE),
    **dict.fromkeys((2027, 2045, 2055), Cause.UNAVAILABLE),
    **dict.fromkeys((1153, 1301, 2020), Cause.TOO_LARGE),
    **dict.fromkeys((3159, 9002), Cause.TLS_REQUIRED),
    # Clusters: another node wrote the same rows, or this node is temporarily not in the group.
    3101: Cause.CONTENTION,
    3100: Cause.UNAVAILABLE,
    # No InnoDB, keys too long for its row format, tables that a cluster or a rule rejects, and
    # binlog_format=STATEMENT, which conflicts with READ COMMITTED.
    **dict.fromkeys((1071, 1173, 1286, 1598, 1665, 1709, 3098, 3161, 3750), Cause.SETTING),
}
"""https://mariadb.com/kb/en/mariadb-error-code-reference/"""


_SAFE: frozenset[str] = frozenset({"", "mysql_native_password", "client_ed25519"})
"""Authentication plugins that reveal no password to the server or to an eavesdropper."""
_SAFE_WITH_TLS: frozenset[str] = frozenset({"caching_sha2_password", "sha256_password"})
"""Plugins that send the password to the server: only to a server whose certificate was checked."""
_SAFE_FOR_TOKENS: frozenset[str] = frozenset({"mysql_clear_password"})
"""Plugins for tokens of a cloud's IAM: only if the registry says so and the server's certificate was checked."""


class _Refused:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, connection: object) -> _Refused:
        """Called where the driver makes a plugin for a connection."""
        del connection
        return self

    def authenticate(self, packet: object) -> None:
        del packet
        raise pymysql.err.OperationalError(2059, f"the server asks for the password by {self._name}, which reveals it")


class _Plugins(dict[Any, Any]):
    """The plugins by the names that the server requests. An unsafe plugin is replaced by one that refuses."""

    def __init__(self, safe: frozenset[str]) -> None:
        super().__init__(dict.fromkeys(safe))  # the driver would ignore an empty one
        self._safe = safe

    def get(self, key: Any, default: Any = None) -> Any:
        """None lets the driver authenticate by itself."""
        name = key.decode("ascii", "replace") if isinstance(key, bytes) else str(key or "")
        return default if name in self._safe else _Refused(name)


_LARGEST_STATEMENT: Final = 1_024_000
"""Bytes of one statement that inserts many rows, where the server accepts that size."""


if TYPE_CHECKING:
    _Base = pymysql.Connection[Any]
else:
    _Base = pymysql.Connection


class _Connection(_Base):
    """A connection that knows the largest packet of the server."""

    largest: int = 16 * 1024 * 1024

    def query(self, sql: Any, unbuffered: bool = False) -> int:
        """Refuses a larger statement with the server's own error number, while the connection is still open."""
        data = sql.encode(self.encoding, "surrogateescape") if isinstance(sql, str) else sql
        if len(data) + 1 > self.largest:
            raise pymysql.err.OperationalError(
                1153, f"a statement of {len(data)} bytes; max_allowed_packet of the server is {self.largest}"
            )
        return int(super().query(data, unbuffered))


def _ways(target: Target) -> frozenset[str]:
    """The plugins that the server may request."""
    if not target.address.tls:
        return _SAFE
    return _SAFE | _SAFE_WITH_TLS | (_SAFE_FOR_TOKENS if target.address.token else frozenset())


def _moment(text: str) -> datetime | str:
    """The time in a text, which is UTC. The driver's own conversion takes thirty times as long, as lists show."""
    try:
        return datetime.fromisoformat(f"{text}+00:00")
    except ValueError:
        return text  # as the driver returns what is no time, such as 0000-00-00


_CONVERSIONS: Final[dict[Any, Any]] = conversions | {FIELD_TYPE.DATETIME: _moment, FIELD_TYPE.TIMESTAMP: _moment}


def connect(target: Target) -> pymysql.Connection[Any]:
    """A connection that refuses values that do not fit instead of truncating them."""
    tls = ssl.create_default_context(cadata=target.credentials.ca_pem) if target.address.tls else None
    connection = _Connection(
        host=target.address.host,
        port=target.address.port,
        user=target.address.username,
        # As bytes, because the driver would encode text as Latin-1.
        password=(target.credentials.password or "").encode(),
        database=target.address.database,
        charset="utf8mb4",
        connect_timeout=target.limits.connect,
        read_timeout=target.limits.silence,
        write_timeout=target.limits.silence,
        ssl=tls,
        auth_plugin_map=_Plugins(_ways(target)),
        # MariaDB alone reads what stands in /*M! */: MySQL has no time limit of an idle transaction.
        init_command=f"SET SESSION sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = {target.limits.lock}, "
        f"default_storage_engine = 'InnoDB' /*M!100300 , idle_transaction_timeout = {target.limits.idle} */",
        client_flag=CLIENT.FOUND_ROWS,
        conv=_CONVERSIONS,
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            row = cursor.fetchone()
        connection.rollback()
    except BaseException:
        connection.close()
        raise
    if row is not None and isinstance(row[0], int) and row[0] > 0:
        connection.largest = row[0]
        # Splits many rows into statements that the server accepts.
        length = min(_LARGEST_STATEMENT, row[0] // 2)
        connection.cursorclass = type("FittingCursor", (Cursor,), {"max_stmt_length": length})
    return connection


def begin(connection: Connection) -> None:
    """Does nothing: the session keeps its settings."""
    del connection


def cause_of(error: BaseException | None) -> tuple[Cause, str]:
    """The cause by the error number."""
    if not isinstance(error, pymysql.Error):
        return Cause.OTHER, type(error).__name__
    code = _number(error)
    words = f"{error.args[1]} (error {code})" if len(error.args) > 1 else type(error).__name__
    if isinstance(getattr(error, "original_exception", None), ssl.SSLError):
        return Cause.CERTIFICATE, words
    return _CAUSES.get(code, Cause.OTHER), words


_NAMED_LOCK: Final = "SELECT GET_LOCK(:name, :seconds)"
_NO_NAMED_LOCKS: Final = frozenset({1105, 1235, 1305})
"""Error numbers without named locks: Percona's (pxc_strict_mode), MariaDB's (Galera), and an unknown function."""
_LEASE: Final = "gatehouse_migration_lease"
_LEASE_SECONDS: Final = 900
_LEASE_PAUSE: Final = 0.5


@contextmanager
def migration_lock(connection: Connection, seconds: int) -> Iterator[bool]:
    """A named lock of this connection, or a lease in a table where the server has no such locks.

    Lock names are shared by the whole server, so the name contains the database's name.
    """
    database = str(connection.scalar(text("SELECT DATABASE()")))
    name = f"gatehouse-migrations-{hashlib.sha256(database.encode()).hexdigest()[:16]}"
    try:
        held = connection.scalar(text(_NAMED_LOCK), {"name": name, "seconds": seconds}) == 1
    except DBAPIError as error:
        if _number(error.orig) not in _NO_NAMED_LOCKS:
            raise
        connection.rollback()
        with _lease(connection, seconds) as held:
            yield held
        return
    connection.commit()
    try:
        yield held
        connection.commit()
    finally:
        if held and not connection.invalidated:
            connection.rollback()
            connection.scalar(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
            connection.commit()


@contextmanager
def _lease(connection: Connection, seconds: int) -> Iterator[bool]:
    """A row that names the migrating operator and the end of its lease.

    All nodes of a cluster agree on the row: of two concurrent writers one gets a deadlock error at commit. A killed
    operator holds the lease until it expires.
    """
    me, deadline = secrets.token_hex(16), time.monotonic() + seconds
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {_LEASE} (id INT NOT NULL PRIMARY KEY, holder VARCHAR(32) NOT NULL, "
            "expires DATETIME NOT NULL) ENGINE = InnoDB"
        )
    )
    connection.execute(text(f"INSERT IGNORE INTO {_LEASE} VALUES (1, '', '2000-01-01 00:00:00')"))  # noqa: S608
    connection.commit()
    while not _take(connection, me):
        if time.monotonic() >= deadline:
            yield False
            return
        time.sleep(_LEASE_PAUSE)
    try:
        yield True
        connection.commit()
    finally:
        if not connection.invalidated:
            connection.rollback()
            connection.execute(
                text(f"UPDATE {_LEASE} SET expires = '2000-01-01 00:00:00' WHERE holder = :me"),  # noqa: S608
                {"me": me},
            )
            connection.commit()


def _take(connection: Connection, me: str) -> bool:
    taken = connection.execute(
        text(
            f"UPDATE {_LEASE} SET holder = :me, expires = UTC_TIMESTAMP() + INTERVAL {_LEASE_SECONDS} SECOND "  # noqa: S608
            "WHERE id = 1 AND expires <= UTC_TIMESTAMP()"
        ),
        {"me": me},
    )
    connection.commit()
    return taken.rowcount == 1


def _number(error: BaseException | None) -> int:
    """The number of a driver's error; 0 for an error without one."""
    return error.args[0] if isinstance(error, pymysql.Error) and error.args and isinstance(error.args[0], int) else 0
