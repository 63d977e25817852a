"""What is asked of a database, as values: calls that meet are run together.

The parameter of a class is what its caller gets back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, NamedTuple, TypeVar

from gatehouse.domain.audit.records import FactDocument
from gatehouse.domain.version.records import (
    FileRecord,
    KnownIds,
    ModelRecord,
    RegistryCounts,
    StateChange,
    VersionIds,
    VersionRecord,
)
from gatehouse.registry.mappers import RowValues

__all__ = [
    "ArchiveObject",
    "Connect",
    "CountRows",
    "ListLive",
    "LiveObject",
    "LoadFiles",
    "LoadHistory",
    "LoadModel",
    "LoadVersion",
    "ModelKey",
    "Operation",
    "Read",
    "SaveFiles",
    "SaveModel",
    "SaveVersion",
    "VersionKey",
    "Write",
]

_LARGEST_FACT = 8_000
"""Bytes to expect of one at most; what is larger is rare."""

T_co = TypeVar("T_co", covariant=True)


class VersionKey(NamedTuple):
    """What is unique in ``model_versions``."""

    registry: str
    model: str
    version: str

    def __str__(self) -> str:
        return f"version {self.version!r} of model {self.model!r} in registry {self.registry}"


class ModelKey(NamedTuple):
    """What is unique in ``registered_models``."""

    registry: str
    name: str

    def __str__(self) -> str:
        return f"model {self.name!r} in registry {self.registry}"


class LiveObject(NamedTuple):
    """A live row and the object that holds it."""

    id: int
    kind: Literal["model", "version"]
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Operation(Generic[T_co]):
    """Anything a database is asked."""

    @property
    def weight(self) -> int:
        """About how many bytes it sends."""
        return 0

    @property
    def order(self) -> tuple[str, ...]:
        """Operations of one batch have the same first part and differ in the others: one row is written once."""
        return ()


@dataclass(frozen=True, slots=True)
class Read(Operation[T_co]):
    """Changes nothing."""


@dataclass(frozen=True, slots=True)
class Write(Operation[T_co]):
    """Runs in a transaction, and running it twice is the same as once."""


@dataclass(frozen=True, slots=True)
class Connect(Read[None]):
    """Nothing but a connection to tables of the newest revision."""


@dataclass(frozen=True, slots=True)
class LoadVersion(Read[VersionRecord | None]):
    """The row of a version."""

    key: VersionKey


@dataclass(frozen=True, slots=True)
class LoadFiles(Read[Mapping[str, FileRecord]]):
    """Files of a version, by path."""

    key: VersionKey


@dataclass(frozen=True, slots=True)
class LoadModel(Read[ModelRecord | None]):
    """The row of a model."""

    key: ModelKey


@dataclass(frozen=True, slots=True)
class LoadHistory(Read[Sequence[StateChange]]):
    """History of a version, oldest first, at most ``limit`` of the newest entries."""

    key: VersionKey
    limit: int


@dataclass(frozen=True, slots=True)
class ListLive(Read[Sequence[LiveObject]]):
    """A page of live rows with ids above ``after``, by id."""

    kind: Literal["model", "version"]
    registry: str
    after: int
    limit: int


@dataclass(frozen=True, slots=True)
class CountRows(Read[RegistryCounts]):
    """Live rows of a registry."""

    registry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveVersion(Write[VersionIds]):
    """``values`` as columns; ``id`` None inserts, with the ``known`` ids. ``files`` None leaves the file rows.

    ``facts`` go to the audit trail, after the one that follows from the row itself.
    """

    key: VersionKey
    id: int | None
    known: KnownIds
    values: RowValues
    files: Sequence[RowValues] | None
    change: RowValues | None
    at: datetime
    facts: Sequence[FactDocument] = ()

    @property
    def weight(self) -> int:
        texts = sum(len(self.values[column] or "") for column in ("spec", "artifact", "governance"))
        return texts + 300 * len(self.files or ()) + _LARGEST_FACT * len(self.facts)

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "version", *self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFiles(Write[None]):
    """Adds or replaces file rows."""

    key: VersionKey
    files: Sequence[RowValues]

    @property
    def weight(self) -> int:
        return 300 * len(self.files)

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "version", *self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveModel(Write[int]):
    """``values`` as columns; ``id`` None when the caller knows of no row, which is then made with the ``known`` id."""

    key: ModelKey
    id: int | None
    known: int | None
    values: RowValues
    at: datetime

    @property
    def weight(self) -> int:
        return len(self.values["spec"])

    @property
    def order(self) -> tuple[str, ...]:
        return ("save", "model", *self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveObject(Write[int]):
    """Archives what an object held."""

    registry: str
    kind: Literal["model", "version"]
    namespace: str
    name: str
    change: RowValues

    @property
    def order(self) -> tuple[str, ...]:
        return ("archive", self.kind, self.registry, self.namespace, self.name)
