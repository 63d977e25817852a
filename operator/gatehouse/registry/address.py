"""The address, the credentials and the time limits of a registry's database."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gatehouse.api.model_registry import DatabaseConnection, ModelRegistry
from gatehouse.domain.common.errors import Stalled

__all__ = [
    "Address",
    "Credentials",
    "DatabaseKind",
    "DatabaseLimits",
    "DatabaseUrlError",
    "Target",
    "address_of",
    "target_of_url",
]

DatabaseKind = Literal["mysql", "postgresql", "sqlite"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_FILE_NAME = 200
_KINDS: Final[Mapping[str, tuple[DatabaseKind, int]]] = {
    "mysql": ("mysql", 3306),
    "mariadb": ("mysql", 3306),
    "postgresql": ("postgresql", 5432),
}
"""The kind and the default port, by the name in a URL."""
_URLS: Final = "expected mysql+pymysql://USER:PASSWORD@HOST/DATABASE, postgresql+psycopg://… or sqlite:////PATH"


class DatabaseUrlError(ValueError):
    """A URL names no database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLimits:
    """Time limits in seconds: for connecting, one statement, waiting for a lock, and silence of the server.

    ``idle`` is the silence of the client within a transaction after which the server rolls the transaction back. A
    process that is stopped, or whose node is cut off, otherwise keeps its locks, and the next leader waits for them.
    """

    connect: int = 5
    statement: int = 30
    lock: int = 10
    silence: int = 45
    idle: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database, without credentials. ``file`` is SQLite's. Without ``tls`` the connection to a server is unencrypted.

    ``token`` says whether the password is a short-lived token. A token is used for new connections only, and may be
    sent to the server in clear text where ``tls`` holds.
    """

    kind: DatabaseKind
    host: str = ""
    port: int = 0
    database: str = ""
    username: str = ""
    tls: bool = True
    token: bool = False
    file: Path | None = None

    def __str__(self) -> str:
        if self.file is not None:
            return f"sqlite:///{self.file}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user's password, and the authorities of the server's certificate; the system's authorities when None."""

    password: str | None = field(default=None, repr=False)
    ca_pem: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must not appear in a message."""
        return (self.password,) if self.password else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Everything needed to connect. ``data_dir`` is for files that a driver needs."""

    address: Address
    credentials: Credentials
    limits: DatabaseLimits
    data_dir: Path


def address_of(registry: ModelRegistry, *, data_dir: Path) -> Address:
    """The database of a registry; a file below ``data_dir`` when the registry names no database.

    Raises:
        Stalled: InvalidName, the registry's own name is not a Kubernetes name and therefore names no file.
    """
    spec = registry.spec
    if spec.mysql is not None:
        return _server("mysql", spec.mysql)
    if spec.postgres is not None:
        return _server("postgresql", spec.postgres)
    namespace, name = registry.metadata.namespace or "", registry.metadata.name
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(namespace):
        raise Stalled(reason="InvalidName", message=f"{namespace}/{name} is not the name of a ModelRegistry")
    stem = f"{namespace}.{name}"
    if len(stem) > _LONGEST_FILE_NAME:
        stem = f"{stem[:_LONGEST_FILE_NAME]}.{hashlib.sha256(stem.encode()).hexdigest()[:16]}"
    return Address(kind="sqlite", file=data_dir / f"{stem}.db")


def _server(kind: Literal["mysql", "postgresql"], spec: DatabaseConnection) -> Address:
    return Address(
        kind=kind,
        host=spec.host,
        port=spec.port,
        database=spec.database,
        username=spec.username,
        tls=spec.tls == "Required",
        # The CRD has the same rule, for objects written since.
        token=spec.auth == "Token" and spec.tls == "Required",
    )


def target_of_url(url: str, *, ca: Path | None = None, data_dir: Path, limits: DatabaseLimits | None = None) -> Target:
    """A database by SQLAlchemy's URL. ``data_dir`` is for files that a driver needs.

    The connection to the server is encrypted, except on this machine, and where the URL ends in ``?tls=disabled``.
    With ``?auth=token`` the password is a token of a cloud's IAM.

    Raises:
        DatabaseUrlError: the URL names no database; the message omits the password.
        OSError: ``ca`` cannot be read.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"the database's URL is malformed, {_URLS}") from None
    name = parsed.get_backend_name()
    if name == "sqlite":
        address = _file(parsed.database)
    elif name in _KINDS and parsed.host and parsed.database:
        kind, port = _KINDS[name]
        tls = not (_is_loopback(parsed.host) or parsed.query.get("tls") == "disabled")
        address = Address(
            kind=kind,
            host=parsed.host,
            port=parsed.port or port,
            database=parsed.database,
            username=parsed.username or "",
            tls=tls,
            token=tls and parsed.query.get("auth") == "token",
        )
    else:
        raise DatabaseUrlError(f"the database's URL is for {name} or names no host or database, {_URLS}")
    password: Any = parsed.password
    return Target(
        address=address,
        credentials=Credentials(
            None if password is None else str(password), ca.read_text() if ca is not None else None
        ),
        limits=limits or DatabaseLimits(),
        data_dir=data_dir,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _file(name: str | None) -> Address:
    file = Path(name or "")
    if not name or not file.is_file():
        raise DatabaseUrlError(f"there is no database file {name or 'in the URL'}, {_URLS}")
    return Address(kind="sqlite", file=file)
