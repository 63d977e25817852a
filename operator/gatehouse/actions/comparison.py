"""Two versions to compare: the objects and evaluations of the cluster, and the rows of the registry's database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from gatehouse.actions.objects import ObjectSource, listed_if_allowed, read
from gatehouse.actions.registry_rows import rows_of
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.version.diff import Side
from gatehouse.errors import ActionError, Refused
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.readers import VersionSnapshot

__all__ = ["full_name", "read_sides", "with_rows"]


async def read_sides(objects: ObjectSource, first: str, second: str, *, namespace: str) -> tuple[Side, Side]:
    """The two versions, each named by NAME (in ``namespace``) or NAMESPACE/NAME. Raises Refused and ClusterError."""
    a, b = await asyncio.gather(_side(objects, first, namespace), _side(objects, second, namespace))
    return a, b


def with_rows(sides: tuple[Side, Side], *, database: str, ca: Path | None) -> tuple[Side, Side]:
    """The sides with the files and the summary of their rows.

    Raises ActionError for a version without a registry or a row, and ReconcileError.
    """
    first, second = rows_of([_key(side) for side in sides], database=database, ca=ca)
    return _with_row(sides[0], first), _with_row(sides[1], second)


def full_name(side: Side) -> str:
    """The version as NAMESPACE/NAME."""
    return f"{side.version.metadata.namespace}/{side.version.metadata.name}"


async def _side(objects: ObjectSource, name: str, home: str) -> Side:
    namespace, slash, rest = name.partition("/")
    where, name = (namespace, rest) if slash else (home, name)
    if not name:
        raise Refused("expected: a ModelVersion as NAME or NAMESPACE/NAME")
    version, evaluations = await asyncio.gather(
        read(objects, ModelVersion, where, name), listed_if_allowed(objects, ModelEvaluation, where)
    )
    return Side(version=version, evaluations=evaluations or ())


def _key(side: Side) -> VersionKey:
    spec, registry = side.version.spec, side.version.status.registry
    if registry is None:
        raise ActionError(f"{full_name(side)} is in no registry yet; compare without --database")
    return VersionKey(registry, spec.model_ref.name, spec.version)


def _with_row(side: Side, rows: VersionSnapshot) -> Side:
    if rows.record is None:
        registry = side.version.status.registry
        raise ActionError(
            f"the database has no row of {full_name(side)}; is --database the database of registry {registry}?"
        )
    artifact = rows.record.artifact
    return replace(side, summary=artifact.summary if artifact else None, files=rows.files)
