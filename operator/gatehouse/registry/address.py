"""Where a registry's rows are, who may see them, and how long to wait for them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gatehouse.api.model_registry import DatabaseConnection, ModelRegistry
from gatehouse.domain.common.errors import Stalled

__all__ = ["Address", "Credentials", "DatabaseKind", "Limits", "Target", "address_of"]

DatabaseKind = Literal["mysql", "postgresql", "sqlite"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_FILE_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Time limits in seconds: to connect, of one statement, of waiting for a lock, of hearing nothing of the server."""

    connect: int = 5
    statement: int = 30
    lock: int = 10
    silence: int = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A database, without credentials. ``file`` is SQLite's. Without ``tls`` the connection to a server is in clear.

    ``token`` is whether the password is a token that ends soon: it is used for new connections only, and may be given
    to the server as it is where ``tls`` holds.
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
    """The user's password, and the certificates that the server's must chain to; those of the system when None."""

    password: str | None = field(default=None, repr=False)
    ca_pem: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not appear in words."""
        return (self.password,) if self.password else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """All it takes to connect. ``data_dir`` is for what a driver wants as a file."""

    address: Address
    credentials: Credentials
    limits: Limits
    data_dir: Path


def address_of(registry: ModelRegistry, *, data_dir: Path) -> Address:
    """The database of a registry; a file below ``data_dir`` when it names none.

    Raises:
        Stalled: InvalidName, the registry's own name is not one of Kubernetes, so that it names no file.
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
        # The CRD has the same rule, for what is written since.
        token=spec.auth == "Token" and spec.tls == "Required",
    )
