"""A database's audit trails as whoever checks them reads them: by its URL, in one snapshot, writing nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import orjson
from sqlalchemy import Connection, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import AuditHead, StoredRecord
from gatehouse.domain.version.records import VersionRecord
from gatehouse.registry.address import Address, Credentials, DatabaseKind, Limits, Target
from gatehouse.registry.audit_reading import checkpoints_of, head_of, records_after
from gatehouse.registry.mappers import VERSION_COLUMNS, version_of
from gatehouse.registry.operations import Read
from gatehouse.registry.reading import read
from gatehouse.registry.snapshot import snapshot_of
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records, model_versions

__all__ = ["DatabaseUrlError", "Trails", "open_trails", "target_of_url"]

PAGE: Final = 5_000
_KINDS: Final[Mapping[str, tuple[DatabaseKind, int]]] = {
    "mysql": ("mysql", 3306),
    "mariadb": ("mysql", 3306),
    "postgresql": ("postgresql", 5432),
}
_WANTED: Final = "wanted mysql+pymysql://USER:PASSWORD@HOST/DATABASE, postgresql+psycopg://… or sqlite:////PATH"


class DatabaseUrlError(ValueError):
    """A URL names no database."""


class Trails:
    """The trails of a database at one moment."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def registries(self) -> Sequence[str]:
        """Every registry that has a trail, also one whose head is gone."""
        heads = self._connection.scalars(select(audit_heads.c.registry))
        checkpoints = self._connection.scalars(select(audit_checkpoints.c.registry).distinct())
        return sorted({*heads, *checkpoints, *self._of_records()})

    def head(self, registry: str) -> AuditHead | None:
        """The newest record as the head has it."""
        return head_of(self._connection, registry)

    def checkpoints(self, registry: str) -> Sequence[Checkpoint]:
        """Every checkpoint in the database, by position."""
        return checkpoints_of(self._connection, registry)

    def records(self, registry: str, *, after: int | None = None) -> Iterator[StoredRecord]:
        """The records with positions above ``after``, by position, a page of them in memory."""
        while page := records_after(self._connection, registry, after, limit=PAGE):
            yield from page
            after = page[-1].seq

    def newest_first(self, registry: str, having: Mapping[str, str]) -> Iterator[StoredRecord]:
        """The records whose text has these members anywhere, the newest first."""
        records = audit_records.c
        said = [orjson.dumps({name: value}).decode()[1:-1] for name, value in having.items()]
        query = (
            select(records.seq, records.content, records.hash)
            .where(records.registry == registry, *[records.content.contains(each, autoescape=True) for each in said])
            .order_by(records.seq.desc())
            .limit(PAGE)
        )
        before: int | None = None
        while True:
            page = query if before is None else query.where(records.seq < before)
            found = [StoredRecord(*row) for row in self._connection.execute(page)]
            yield from found
            if len(found) < PAGE:
                return
            before = found[-1].seq

    def held_by(self, namespace: str, name: str) -> Mapping[str, VersionRecord]:
        """The row of the version that an object holds, or held last, by registry. Raises as ``load``."""
        held = model_versions.c
        query = (
            select(held.registry, *VERSION_COLUMNS)
            .where(held.namespace == namespace, held.object_name == name)
            .order_by(held.updated_at)
        )
        return {registry: version_of(row) for registry, *row in self._connection.execute(query)}

    def load(self, operations: Sequence[Read[Any]]) -> Sequence[Any]:
        """The answers of other reads, of the same moment."""
        return read(self._connection, operations)

    def _of_records(self) -> Iterator[str]:
        """Each registry by one look at the index."""
        registry = audit_records.c.registry
        after: str | None = ""
        while True:
            after = self._connection.scalar(select(registry).where(registry > after).order_by(registry).limit(1))
            if after is None:
                return
            yield after


@contextmanager
def open_trails(target: Target) -> Iterator[Trails]:
    """The trails of a database, until the context ends.

    Raises:
        ReconcileError: as :func:`snapshot_of`.
    """
    with snapshot_of(target) as connection:
        yield Trails(connection)


def target_of_url(url: str, *, ca: Path | None = None, data_dir: Path, limits: Limits | None = None) -> Target:
    """A database by SQLAlchemy's URL. ``data_dir`` is for what a driver wants as a file.

    The way to the server is encrypted, except on this machine, and where the URL ends in ``?tls=disabled``. With
    ``?auth=token`` the password is a token of a cloud's IAM.

    Raises:
        DatabaseUrlError: without its password.
        OSError: ``ca`` cannot be read.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"the database's URL is not one, {_WANTED}") from None
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
        raise DatabaseUrlError(f"the database's URL is for {name} or names no host or database, {_WANTED}")
    password: Any = parsed.password
    return Target(
        address=address,
        credentials=Credentials(
            None if password is None else str(password), ca.read_text() if ca is not None else None
        ),
        limits=limits or Limits(),
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
        raise DatabaseUrlError(f"there is no database file {name or 'in the URL'}, {_WANTED}")
    return Address(kind="sqlite", file=file)
