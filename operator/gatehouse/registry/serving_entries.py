"""Writes what the cluster shows of serving into the entries: namespaces as environments, and the services in them.

One transaction compares all rows with the cluster and writes only what differs. A row that a client recorded under the
name that the cluster shows is taken over, with its id and with what the client wrote besides. The row of a service that
is gone stays, as undeployed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import delete, func, select

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.entries.entry import FIRST_RECORDED_ID, EntryKind
from gatehouse.domain.entries.observed import OF_PODS, UNDEPLOYED, URL, ObservedService, ObservedServing, own_properties
from gatehouse.domain.entries.properties import Property
from gatehouse.registry.entry_mappers import (
    dump_members,
    dump_properties,
    load_members,
    load_properties,
    property_rows,
)
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.operations import Write
from gatehouse.registry.tables import entries, entry_properties, model_versions
from gatehouse.registry.writer import StoredRow, Writer

__all__ = ["SaveServing"]

_V, _E, _P = model_versions.c, entries.c, entry_properties.c
_SLICE: Final = 500
"""Values in one condition."""
_SERVICE_BYTES: Final = 1_000
_STEP: Final = timedelta(milliseconds=1)
_ENVIRONMENT: Final[EntryKind] = "serving_environment"
_SERVICE: Final[EntryKind] = "inference_service"
_CHANGING: Final = ("namespace", "state", "members", "properties", "observed", "version_id")

_Wanted = tuple["StoredRow | None", RowValues, Mapping[str, Any], Mapping[str, Property]]
"""A row, its columns, and the members and properties that it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveServing(Write[int]):
    """Writes all that the cluster shows for one registry; the number of entries that were written."""

    registry: str
    serving: ObservedServing
    at: datetime

    @property
    def weight(self) -> int:
        return _SERVICE_BYTES * (len(self.serving.environments) + len(self.serving.services))

    @property
    def order(self) -> tuple[str, ...]:
        return ("serving", self.registry)

    @classmethod
    def run(cls, writer: Writer, batch: Sequence[Self]) -> list[int | ReconcileError]:
        return [_Saving(writer, operation).save() for operation in batch]


class _Saving:
    def __init__(self, writer: Writer, operation: SaveServing) -> None:
        self._writer = writer
        self._registry = operation.registry
        self._serving = operation.serving
        self._at = operation.at
        self._written = 0

    def save(self) -> int:
        there = {row.name: row for row in self._rows(_ENVIRONMENT, (one.name for one in self._serving.environments))}
        environments = sorted(self._serving.environments)
        self._put(
            _ENVIRONMENT,
            [
                (
                    there.get(one.name),
                    {"parent_id": 0, "name": one.name, "namespace": one.name, "state": "", "observed": one.uid},
                    {},
                    {},
                )
                for one in environments
            ],
        )
        self._save_services(self._environment_ids())
        return self._written

    def _save_services(self, environments: Mapping[str, int]) -> None:
        models = self._models()
        services = {
            (environments[service.namespace], service.entry_name): service
            for service in sorted(self._serving.services)
            if service.version_id in models and service.namespace in environments
        }
        rows = self._rows(_SERVICE, (name for _, name in services))
        there = {(row.parent_id, row.name): row for row in rows}
        wanted: list[_Wanted] = []
        for key, service in services.items():
            facts = {"registeredModelId": str(models[service.version_id]), "modelVersionId": str(service.version_id)}
            row, members = there.get(key), facts | _runtime(service)
            wanted.append((row, _service_values(key, service), members, _properties(row, service)))
        wanted += [
            (row, _undeployed_values(row), {}, _last_address(row))
            for row in rows
            if row.observed and row.state != UNDEPLOYED and (row.parent_id, row.name) not in services
        ]
        self._put(_SERVICE, wanted)

    def _put(
        self,
        kind: EntryKind,
        wanted: Iterable[_Wanted],
    ) -> None:
        """Inserts and updates rows: of each its row, its columns, and the members and properties that it shows."""
        new: list[RowValues] = []
        changed: list[RowValues] = []
        described: dict[tuple[int, str], tuple[Mapping[str, Any], Mapping[str, Property]]] = {}
        for row, columns, facts, properties in wanted:
            members = {**(load_members(row.members) if row else {}), **facts}
            kept = {**(own_properties(load_properties(row.properties)) if row else {}), **properties}
            texts = {"members": dump_members(members), "properties": dump_properties(kept)}
            values = {"version_id": None} | columns | texts
            if row is None:
                new.append(self._new(kind, values))
            elif any(getattr(row, name) != values[name] for name in _CHANGING):
                named = {name: values[name] for name in _CHANGING}
                changed.append({"id": row.id, "updated_at": self._after(row)} | named)
            else:
                continue
            described[columns["parent_id"], columns["name"]] = members, kept
        self._insert(new)
        self._write(changed)
        self._describe(kind, described)

    def _new(self, kind: EntryKind, values: RowValues) -> RowValues:
        own = {"registry": self._registry, "kind": kind, "slot": "", "external_id": None, "creation": ""}
        return own | values | {"created_at": self._at, "updated_at": self._at}

    def _insert(self, rows: list[RowValues]) -> None:
        if rows and self._writer.connection.dialect.name == "sqlite":
            highest = self._writer.connection.scalar(select(func.max(_E.id))) or 0
            first = max(FIRST_RECORDED_ID, highest + 1)
            rows = [row | {"id": first + place} for place, row in enumerate(rows)]
        self._writer.insert(entries, rows)
        self._written += len(rows)

    def _write(self, rows: list[RowValues]) -> None:
        self._writer.update(entries, rows)
        self._written += len(rows)

    def _describe(
        self, kind: EntryKind, described: Mapping[tuple[int, str], tuple[Mapping[str, Any], Mapping[str, Property]]]
    ) -> None:
        """Replaces the values by which filters find the rows."""
        if kind != _SERVICE or not described:
            return
        names = [name for _, name in described]
        for part in _slices(names):
            query = select(_E.id, _E.parent_id, _E.name).where(
                _E.registry == self._registry, _E.kind == kind, _E.name.in_(part)
            )
            ids = {(row.parent_id, row.name): row.id for row in self._writer.fetch(query)}
            mine = {ids[key]: values for key, values in described.items() if key in ids}
            self._writer.connection.execute(
                delete(entry_properties).where(_P.subject == "entry", _P.entry_id.in_(list(mine)))
            )
            rows = [
                row
                for id_, (members, properties) in mine.items()
                for custom, values in ((False, members), (True, properties))
                for row in property_rows("entry", id_, custom=custom, values=values)
            ]
            self._writer.insert(entry_properties, rows)

    def _rows(self, kind: EntryKind, names: Iterable[str]) -> list[StoredRow]:
        """The rows that show objects already, and those that clients recorded under the names of objects."""
        columns = (_E.id, _E.parent_id, _E.name, _E.updated_at, *(_E[name] for name in _CHANGING))
        ours = select(*columns).where(_E.registry == self._registry, _E.kind == kind)
        rows = list(self._writer.fetch_for_update(ours.where(_E.observed.is_not(None))))
        known = {row.name for row in rows}
        for part in _slices(sorted(set(names) - known)):
            rows += self._writer.fetch_for_update(ours.where(_E.observed.is_(None), _E.name.in_(part)))
        return rows

    def _environment_ids(self) -> dict[str, int]:
        query = select(_E.id, _E.name).where(
            _E.registry == self._registry, _E.kind == _ENVIRONMENT, _E.parent_id == 0, _E.observed.is_not(None)
        )
        return {row.name: row.id for row in self._writer.fetch(query)}

    def _models(self) -> dict[int, int]:
        """The models of the versions that services run. A version that the registry does not keep has none."""
        found: dict[int, int] = {}
        for part in _slices(sorted({service.version_id for service in self._serving.services})):
            query = select(_V.id, _V.model_id).where(_V.registry == self._registry, _V.id.in_(part))
            found |= {row.id: row.model_id for row in self._writer.fetch(query)}
        return found

    def _after(self, row: StoredRow) -> datetime:
        later: datetime = max(self._at, row.updated_at + _STEP)
        return later


def _service_values(key: tuple[int, str], service: ObservedService) -> RowValues:
    parent, name = key
    return {
        "parent_id": parent,
        "name": name,
        "namespace": service.namespace,
        "state": service.state,
        "observed": service.uid,
        "version_id": service.version_id,
    }


def _runtime(service: ObservedService) -> dict[str, str]:
    return {"runtime": service.runtime} if service.runtime else {}


def _properties(row: StoredRow | None, service: ObservedService) -> Mapping[str, Property]:
    """What the cluster shows. While the Pods are not known, as after a restart, what was known of them stays."""
    if row is None or service.pods is not None:
        return service.properties
    known = {name: value for name, value in load_properties(row.properties).items() if name in OF_PODS}
    return {**service.properties, **known}


def _undeployed_values(row: StoredRow) -> RowValues:
    same = {name: getattr(row, name) for name in ("parent_id", "name", *_CHANGING)}
    return same | {"state": UNDEPLOYED}


def _last_address(row: StoredRow) -> Mapping[str, Property]:
    """The address of a service that is gone. Its Pods are gone too, so nothing is shown of them."""
    return {name: value for name, value in load_properties(row.properties).items() if name == URL}


def _slices(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _SLICE] for start in range(0, len(values), _SLICE))
