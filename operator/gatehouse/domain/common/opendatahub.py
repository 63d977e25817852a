"""OpenShift AI's kind ModelRegistry beside Gatehouse's: which database it names, and whether that one is available.

The objects come from another project's kind, with more members than these and perhaps other types, so every member is
read with care. A database is available where Gatehouse's ModelRegistry of the same name keeps its rows in the same one.
Where there is no such ModelRegistry, one is made of the object. That kind knows no object store, so nothing in the
registry becomes governed until a person adds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from gatehouse.api.meta import GROUP, VERSION
from gatehouse.api.model_registry import ModelRegistry, ModelRegistrySpec
from gatehouse.domain.common.clocks import read_timestamp
from gatehouse.domain.common.conditions import READY, ConditionState, find
from gatehouse.domain.common.readable import Unreadable, member

__all__ = [
    "ANNOTATION_DATABASE_TLS",
    "AVAILABLE",
    "NamedDatabase",
    "availability",
    "derived_registry",
    "is_anothers",
    "named_database",
]

AVAILABLE: Final = "Available"
ANNOTATION_DATABASE_TLS: Final = f"{GROUP}/database-tls"
"""On an object of that kind, whose schema has no such member: Disabled for a database without TLS."""
PATIENCE: Final = timedelta(minutes=1)
"""How long an object stands alone before a ModelRegistry is made of it: both may be applied together."""
_FINALIZER: Final = "modelregistry.opendatahub.io/finalizer"
"""OpenShift AI's operator writes it onto each object that it reconciles."""
_PORTS: Final[Mapping[Literal["mysql", "postgres"], int]] = {"mysql": 3306, "postgres": 5432}
_LONGEST_NAME: Final = 253
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class NamedDatabase:
    """A database as both kinds name it: no Secret is part of it."""

    kind: Literal["mysql", "postgres"]
    host: str
    port: int
    database: str
    username: str

    def __str__(self) -> str:
        return f"{self.kind} {self.username}@{self.host}:{self.port}/{self.database}"


def is_anothers(body: Mapping[str, Any]) -> bool:
    """Whether OpenShift AI's operator reconciles an object of its kind: two operators would fight over its status."""
    finalizers = member(body, "metadata", "finalizers")
    return isinstance(finalizers, list) and _FINALIZER in finalizers


def named_database(body: Mapping[str, Any]) -> NamedDatabase | None:
    """The database of an object of OpenShift AI's kind; None where it names none, two, or one in another form."""
    named = [kind for kind in _PORTS if member(body, "spec", kind) is not None]
    if len(named) != 1:
        return None
    kind = named[0]
    host, database, username = (member(body, "spec", kind, name) for name in ("host", "database", "username"))
    port = member(body, "spec", kind, "port")
    port = _PORTS[kind] if port is None else port
    if not (_is_name(host) and _is_name(database) and _is_name(username) and _is_port(port)):
        return None
    return NamedDatabase(kind, str(host), int(str(port)), str(database), str(username))


def derived_registry(body: Mapping[str, Any], *, now: datetime) -> dict[str, Any] | None:
    """Gatehouse's ModelRegistry for an object that stands alone; None while it is new, and where it names no database.

    The password's Secret and the authorities are those that the object names. TLS is required unless an annotation says
    otherwise.
    """
    named = named_database(body)
    created = read_timestamp(member(body, "metadata", "creationTimestamp"))
    if named is None or created is None or now - created < PATIENCE:
        return None
    secrets = {"passwordSecret": "passwordSecret", "caSecret": "sslRootCertificateSecret"}
    given = {ours: _secret(member(body, "spec", named.kind, theirs)) for ours, theirs in secrets.items()}
    plain = member(body, "metadata", "annotations", ANNOTATION_DATABASE_TLS) == "Disabled"
    connection = {
        "host": named.host,
        "port": named.port,
        "database": named.database,
        "username": named.username,
        **({"tls": "Disabled"} if plain else {}),
        **{name: secret for name, secret in given.items() if secret is not None},
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": ModelRegistry.info.kind,
        "metadata": {
            "name": str(member(body, "metadata", "name")),
            "namespace": str(member(body, "metadata", "namespace")),
            "labels": {"app.kubernetes.io/managed-by": "gatehouse"},
        },
        "spec": {named.kind: connection},
    }


def _secret(reference: object) -> dict[str, str] | None:
    name, key = member(reference, "name"), member(reference, "key")
    return {"name": str(name), "key": str(key)} if _is_name(name) and _is_name(key) else None


def availability(body: Mapping[str, Any], registry: ModelRegistry | Unreadable | None) -> ConditionState:
    """The condition Available of an object, from Gatehouse's ModelRegistry of the same name and namespace."""
    where = f"{member(body, 'metadata', 'namespace')}/{member(body, 'metadata', 'name')}"
    named = named_database(body)
    if named is None:
        return _not(
            "DatabaseNotNamed", "spec names no database; expected: host, database and username of mysql or of postgres"
        )
    if registry is None or isinstance(registry, Unreadable):
        found = "is not there" if registry is None else f"cannot be read: {registry.problem}"
        return _not(
            "NoRegistry", f"ModelRegistry.gatehouse.dev {where} {found}; expected: one with the database {named}"
        )
    kept = _own_database(registry.spec)
    if kept != named:
        return _not(
            "OtherDatabase",
            f"spec names the database {named}, and ModelRegistry.gatehouse.dev {where} keeps its rows in "
            f"{kept or 'SQLite'}; name the same database in both",
        )
    ready = find(registry.status.conditions, READY)
    if ready is None or ready.status == "Unknown" or ready.observed_generation != registry.metadata.generation:
        return ConditionState(
            AVAILABLE, "Unknown", "Progressing", f"ModelRegistry.gatehouse.dev {where} is not read yet"
        )
    return ConditionState(AVAILABLE, ready.status, ready.reason, ready.message)


def _own_database(spec: ModelRegistrySpec) -> NamedDatabase | None:
    if spec.mysql is not None:
        own = spec.mysql
        return NamedDatabase("mysql", own.host, own.port, own.database, own.username)
    if spec.postgres is not None:
        other = spec.postgres
        return NamedDatabase("postgres", other.host, other.port, other.database, other.username)
    return None


def _not(reason: str, message: str) -> ConditionState:
    return ConditionState(AVAILABLE, "False", reason, message)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable()


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _HIGHEST_PORT
