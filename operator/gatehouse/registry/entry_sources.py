"""The rows behind each kind of entry: one table with the columns that clients read, under the same names for all kinds.

Models and versions are rows of their own tables. The model artifact of a governed version is derived from the version's
row, until a client records one. All other kinds are rows of ``entries``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal, TypedDict

from sqlalchemy import (
    Column,
    ColumnElement,
    FromClause,
    Select,
    String,
    Text,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    select,
)

from gatehouse.domain.entries.entry import EntryKind
from gatehouse.domain.entries.observed import OBSERVED_KINDS, UNDEPLOYED
from gatehouse.registry.json_text import json_text
from gatehouse.registry.tables import entries, model_versions, registered_models

__all__ = ["ROW_COLUMNS", "EntrySource", "Subject", "service_of_version", "sources_by_id", "sources_of"]

Subject = Literal["model", "version", "entry"]
"""Whose properties a row of ``entry_properties`` has."""

ROW_COLUMNS: Final = (
    "id",
    "kind",
    "parent_id",
    "namespace",
    "name",
    "external_id",
    "state",
    "members",
    "properties",
    "created_at",
    "updated_at",
    "key",
    "parent_key",
    "row_state",
    "object_name",
    "phase",
    "digest",
    "hardware_profile",
    "uri",
    "spec",
    "shown",
)
"""The columns of every source, in the order of a selected row."""

_M, _V, _E = registered_models.c, model_versions.c, entries.c
_Text = ColumnElement[Any]


class _Columns(TypedDict):
    """Two fields of :class:`EntrySource`."""

    columns: Mapping[str, _Text]
    constants: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EntrySource:
    """Where the entries of one kind come from.

    ``scope`` has the columns with which the indexes of pages begin, and their values; ``where`` has further conditions.
    ``columns`` are those of ``ROW_COLUMNS``, and ``constants`` the values of those that are the same in each row.
    ``texts`` and ``numbers`` are members that are columns, by their names in
    the client's JSON. ``spec_texts`` are members that the spec of a governed entry has, ``spec_properties`` is the
    member of the spec with its properties, ``governed_texts`` are the properties that Gatehouse shows. ``subject`` is
    None for entries that have no properties of their own.
    """

    kind: EntryKind
    origin: FromClause
    scope: tuple[tuple[Column[str], str], ...]
    where: tuple[ColumnElement[bool], ...] = ()
    columns: Mapping[str, _Text]
    constants: Mapping[str, Any]
    subject: Subject | None
    texts: Mapping[str, _Text] = field(default_factory=dict)
    numbers: Mapping[str, _Text] = field(default_factory=dict)
    spec_texts: Mapping[str, _Text] = field(default_factory=dict)
    spec_properties: str = ""
    governed_texts: Mapping[str, _Text] = field(default_factory=dict)

    @property
    def governed(self) -> ColumnElement[bool]:
        """Whether an object holds the row, or last held the row."""
        return self.columns["row_state"] != "RECORDED"

    def rows(self, *more: ColumnElement[Any], scoped: bool = True, whole: bool = True) -> Select[Any]:
        """All rows of the kind, with ``ROW_COLUMNS`` and further columns.

        Without ``scoped`` the caller adds the condition of the scope. Without ``whole`` the constants are left out.
        """
        rows = _all_rows(self, scoped=scoped, whole=whole)
        return rows.add_columns(*more) if more else rows


def sources_of(registry: str, kinds: Collection[EntryKind]) -> Sequence[EntrySource]:
    """The sources of the kinds in one registry."""
    return [source for kind in kinds for source in _sources_of(registry, kind)]


def sources_by_id(registry: str, kinds: Collection[EntryKind]) -> Sequence[EntrySource]:
    """The sources of the kinds for a search by id, which also finds the service of a version under the version's id."""
    sources = sources_of(registry, kinds)
    return [*sources, _services_of_versions(registry)] if "inference_service" in kinds else sources


@lru_cache(maxsize=1_000)
def _sources_of(registry: str, kind: EntryKind) -> tuple[EntrySource, ...]:
    """Kept, because their expressions take longer to build than a short statement takes to run."""
    match kind:
        case "registered_model":
            return (_models(registry),)
        case "model_version":
            return (_versions(registry),)
        case "model_artifact":
            return _entries(registry, kind), _derived_artifacts(registry)
        case _:
            return (_entries(registry, kind),)


@lru_cache(maxsize=2_000)
def _all_rows(source: EntrySource, *, scoped: bool, whole: bool) -> Select[Any]:
    names = [name for name in ROW_COLUMNS if whole or name not in source.constants]
    chosen = [source.columns[name].label(name) for name in names]
    scope = [column == value for column, value in source.scope] if scoped else []
    return select(*chosen).select_from(source.origin).where(*scope, *source.where)


def _models(registry: str) -> EntrySource:
    return EntrySource(
        kind="registered_model",
        origin=registered_models,
        scope=((_M.registry, registry),),
        **_columns(
            "registered_model",
            id=_M.id,
            parent_id=0,
            namespace=_M.namespace,
            name=_M.title,
            external_id=_M.external_id,
            state=_state(_M.state, _M.recorded_state),
            members=_M.members,
            properties=_M.properties,
            created_at=_M.created_at,
            updated_at=_M.updated_at,
            key=_M.name,
            row_state=_M.state,
            spec=_M.spec,
        ),
        subject="model",
        spec_texts={
            "description": json_text(_M.spec, "description"),
            "license": json_text(_M.spec, "license"),
            "owner": json_text(_M.spec, "owners", 0),
            "provider": json_text(_M.spec, "provider"),
        },
        spec_properties="tags",
    )


def _versions(registry: str) -> EntrySource:
    return EntrySource(
        kind="model_version",
        origin=model_versions,
        scope=((_V.registry, registry),),
        **_columns(
            "model_version",
            id=_V.id,
            parent_id=_V.model_id,
            namespace=_V.namespace,
            name=_V.title,
            external_id=_V.external_id,
            state=_state(_V.state, _V.recorded_state),
            members=_V.members,
            properties=_V.properties,
            created_at=_V.created_at,
            updated_at=_V.updated_at,
            key=_V.version,
            parent_key=_V.model,
            row_state=_V.state,
            **_decided(),
        ),
        subject="version",
        texts={"gatehouse.model_key": _V.model, "gatehouse.version_key": _V.version},
        numbers={"registeredModelId": _V.model_id},
        spec_texts={
            "description": json_text(_V.spec, "description"),
            "author": json_text(_V.spec, "submittedBy"),
        },
        spec_properties="customProperties",
        governed_texts={
            "gatehouse.phase": _V.phase,
            "gatehouse.digest": _V.digest,
            "gatehouse.hardware_profile": _V.hardware_profile,
        },
    )


def _entries(registry: str, kind: EntryKind) -> EntrySource:
    return EntrySource(
        kind=kind,
        origin=entries,
        scope=((_E.registry, registry), (_E.kind, kind)),
        **_columns(
            kind,
            id=_E.id,
            parent_id=_E.parent_id,
            namespace=_E.namespace,
            name=_E.name,
            external_id=_E.external_id,
            state=_E.state,
            members=_E.members,
            properties=_E.properties,
            created_at=_E.created_at,
            updated_at=_E.updated_at,
            **_observed(kind),
        ),
        subject="entry",
        texts={"artifactType": literal(kind.removesuffix("_record").replace("_", "-"), String)},
        numbers=_PARENTS.get(kind, {}),
    )


def _observed(kind: EntryKind) -> Mapping[str, _Text | str]:
    if kind not in OBSERVED_KINDS:
        return {"row_state": "RECORDED"}
    recorded = case((_E.observed.is_(None), literal("RECORDED", String)), else_=literal("OBSERVED", String))
    return {"row_state": recorded, "object_name": _E.name}


_PARENTS: Final[Mapping[EntryKind, Mapping[str, _Text]]] = {
    "inference_service": {"servingEnvironmentId": _E.parent_id},
    "serve_model": {"inferenceServiceId": _E.parent_id},
    "experiment_run": {"experimentId": _E.parent_id},
    "metric_record": {"experimentRunId": _E.parent_id},
}


def _derived_artifacts(registry: str) -> EntrySource:
    recorded = exists().where(_E.parent_id == _V.id, _E.kind == "model_artifact")
    return EntrySource(
        kind="model_artifact",
        origin=model_versions.join(registered_models, _V.model_id == _M.id),
        scope=((_V.registry, registry),),
        where=(_V.state != "RECORDED", ~recorded),
        **_columns(
            "model_artifact",
            id=_V.id,
            parent_id=_V.id,
            namespace=_V.namespace,
            name=_M.title,
            state="LIVE",
            created_at=_V.created_at,
            updated_at=_V.updated_at,
            key=_V.version,
            parent_key=_V.model,
            row_state=_V.state,
            **_decided(),
        ),
        subject=None,
        texts={"artifactType": literal("model-artifact", String), "uri": _V.uri},
        spec_texts={"modelFormatName": json_text(_V.spec, "artifact", "format")},
        governed_texts={
            "gatehouse.phase": _V.phase,
            "gatehouse.digest": _V.digest,
            "gatehouse.hardware_profile": _V.hardware_profile,
        },
    )


def service_of_version(registry: str, version_id: ColumnElement[int] | int) -> Select[tuple[int]]:
    """The id of the newest service that runs a version; of one that ran the version, where none does."""
    service = entries.alias("service")
    return (
        select(service.c.id)
        .where(
            service.c.version_id == version_id,
            service.c.registry == registry,
            service.c.kind == "inference_service",
        )
        # DEPLOYED comes first.
        .order_by(service.c.state, service.c.id.desc())
        .limit(1)
    )


def _services_of_versions(registry: str) -> EntrySource:
    """The service of a version under the id of the version.

    Templates carry that id, because an id must be known before a service exists. No list shows these entries.
    """
    environment = entries.alias("environment")
    home = (
        select(environment.c.id)
        .where(
            environment.c.registry == registry,
            environment.c.kind == "serving_environment",
            environment.c.parent_id == 0,
            environment.c.name == _V.namespace,
        )
        .limit(1)
        .scalar_subquery()
    )
    served = _E.id == service_of_version(registry, _V.id).correlate(model_versions).scalar_subquery()
    parent = func.coalesce(_E.parent_id, home)
    version, model = cast(_V.id, String(20)), cast(_V.model_id, String(20))
    opening, between = literal('{"modelVersionId":"', String), literal('","registeredModelId":"', String)
    facts = opening + version + between + model + literal('"}', String)
    return EntrySource(
        kind="inference_service",
        origin=model_versions.outerjoin(entries, served),
        scope=((_V.registry, registry),),
        where=(_V.state != "RECORDED", parent.is_not(None)),
        **_columns(
            "inference_service",
            id=_V.id,
            parent_id=parent,
            namespace=func.coalesce(_E.namespace, _V.namespace),
            name=func.coalesce(_E.name, _V.object_name),
            external_id=_E.external_id,
            state=func.coalesce(_E.state, literal(UNDEPLOYED, String)),
            members=func.coalesce(_E.members, facts),
            properties=_E.properties,
            created_at=func.coalesce(_E.created_at, _V.created_at),
            updated_at=func.coalesce(_E.updated_at, _V.updated_at),
            row_state="OBSERVED",
            object_name=func.coalesce(_E.name, _V.object_name),
        ),
        subject=None,
    )


def _decided() -> dict[str, _Text]:
    return {name: _V[name] for name in ("object_name", "phase", "digest", "hardware_profile", "uri", "spec", "shown")}


def _state(state: _Text, recorded: _Text) -> _Text:
    return case((state == "RECORDED", recorded), else_=state)


def _columns(kind: EntryKind, **columns: _Text | str | int) -> _Columns:
    given: dict[str, _Text | str | int | None] = dict.fromkeys(ROW_COLUMNS) | {"kind": kind} | columns
    constants = {name: value for name, value in given.items() if not isinstance(value, ColumnElement)}
    return {
        "columns": {
            name: value if isinstance(value, ColumnElement) else _constant(value) for name, value in given.items()
        },
        "constants": constants,
    }


def _constant(value: str | int | None) -> _Text:
    match value:
        case None:
            return cast(null(), Text)
        case str():
            return literal(value, String)
        case _:
            return literal(value)
