"""MariaDB and MySQL by pymysql."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.constants import CLIENT
from sqlalchemy import Connection, text

from gatehouse.registry.address import Target
from gatehouse.registry.failures import Cause

__all__ = ["URL", "cause_of", "connect", "migration_lock"]

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
    **dict.fromkeys((1048, 1153, 1264, 1265, 1292, 1366, 1406, 1118, 1301, 3140, 3819, 4025), Cause.REJECTED),
    **dict.fromkeys((1034, 1035, 1194, 1195, 1712, 1877), Cause.DAMAGED),
    **dict.fromkeys((0, 1021, 1037, 1040, 1041, 1042, 1043, 1047, 1053, 1077, 1079, 1080, 1114), Cause.UNAVAILABLE),
    **dict.fromkeys((1129, 1152, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184), Cause.UNAVAILABLE),
    1046: Cause.UNAVAILABLE,  # the database was dropped under the connection, and may be there again
    **dict.fromkeys((1203, 1226, 1317, 1927, 1969, 3024, 4031), Cause.UNAVAILABLE),
    **dict.fromkeys(range(2000, 2026), Cause.UNAVAILABLE),
    **dict.fromkeys((2027, 2045, 2055), Cause.UNAVAILABLE),
}
"""https://mariadb.com/kb/en/mariadb-error-code-reference/"""


_SAFE: frozenset[str] = frozenset({"", "mysql_native_password", "client_ed25519"})
"""Ways to authenticate that show the server, and whoever listens, no password."""
_SAFE_WITH_TLS: frozenset[str] = frozenset({"caching_sha2_password", "sha256_password"})
"""Ways that give the password to the server: to the one whose certificate was checked, and to no other."""


class _Refused:
    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, connection: object) -> _Refused:
        """As the driver makes a plugin for a connection."""
        del connection
        return self

    def authenticate(self, packet: object) -> None:
        del packet
        raise pymysql.err.OperationalError(2059, f"the server asks for the password by {self._name}, which shows it")


class _Plugins(dict[Any, Any]):
    """The driver asks here for the plugin that the server wants: what is not safe gets one that refuses."""

    def __init__(self, safe: frozenset[str]) -> None:
        super().__init__(dict.fromkeys(safe))  # an empty one the driver would not ask
        self._safe = safe

    def get(self, key: Any, default: Any = None) -> Any:
        """None has the driver do it by itself."""
        name = key.decode("ascii", "replace") if isinstance(key, bytes) else str(key or "")
        return default if name in self._safe else _Refused(name)


def connect(target: Target) -> pymysql.Connection[Any]:
    """A connection that refuses values which do not fit instead of cutting them."""
    tls = ssl.create_default_context(cadata=target.credentials.ca_pem) if target.address.tls else None
    return pymysql.connect(
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
        auth_plugin_map=_Plugins(_SAFE if tls is None else _SAFE | _SAFE_WITH_TLS),
        init_command=f"SET SESSION sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = {target.limits.lock}",
        client_flag=CLIENT.FOUND_ROWS,
    )


def cause_of(error: BaseException | None) -> tuple[Cause, str]:
    """By the error number."""
    if not isinstance(error, pymysql.Error):
        return Cause.OTHER, type(error).__name__
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    words = f"{error.args[1]} (error {code})" if len(error.args) > 1 else type(error).__name__
    if isinstance(getattr(error, "original_exception", None), ssl.SSLError):
        return Cause.CERTIFICATE, words
    return _CAUSES.get(code, Cause.OTHER), words


@contextmanager
def migration_lock(connection: Connection, seconds: int) -> Iterator[bool]:
    """A named lock of this connection. Such names are the whole server's, so this one has the database's in it."""
    database = str(connection.scalar(text("SELECT DATABASE()")))
    name = f"gatehouse-migrations-{hashlib.sha256(database.encode()).hexdigest()[:16]}"
    held = connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": name, "seconds": seconds}) == 1
    connection.commit()
    try:
        yield held
        connection.commit()
    finally:
        if held and not connection.invalidated:
            connection.rollback()
            connection.scalar(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
            connection.commit()
