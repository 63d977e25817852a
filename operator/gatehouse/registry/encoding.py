"""Records to rows and back. A value that no column can hold is refused here, before it joins a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeAlias, get_args

from sqlalchemy import String, Table

from gatehouse.domain.artifact import HashSource
from gatehouse.domain.errors import Stalled
from gatehouse.domain.records import FileRecord, ModelRecord, StateChange, VersionRecord
from gatehouse.registry.artifact_json import dump_artifact, load_artifact
from gatehouse.registry.tables import artifact_files, history, model_versions, registered_models

__all__ = [
    "CHANGE_COLUMNS",
    "FILE_COLUMNS",
    "MODEL_COLUMNS",
    "VERSION_COLUMNS",
    "AnyRow",
    "RowValues",
    "change_of",
    "change_values",
    "check_key",
    "file_of",
    "file_values",
    "model_of",
    "model_values",
    "path_hash",
    "version_of",
    "version_values",
]

RowValues = dict[str, Any]
"""Parameters of one row, by column."""

AnyRow: TypeAlias = Sequence[Any]
"""Values of the columns of a query, in its order."""

_V, _M, _F, _H = model_versions.c, registered_models.c, artifact_files.c, history.c
VERSION_COLUMNS = (
    _V.id,
    _V.model_id,
    _V.model,
    _V.version,
    _V.namespace,
    _V.object_name,
    _V.uid,
    _V.uri,
    _V.state,
    _V.phase,
    _V.digest,
    _V.hardware_profile,
    _V.artifact,
    _V.spec,
    _V.governance,
)
MODEL_COLUMNS = (_M.id, _M.name, _M.namespace, _M.uid, _M.state, _M.spec, _M.held)
FILE_COLUMNS = (_F.path, _F.size, _F.etag, _F.sha256, _F.source, _F.modified, _F.version_id, _F.hashed_at)
CHANGE_COLUMNS = (_H.at, _H.actor, _H.state_before, _H.state_after, _H.digest, _H.reason, _H.message)

_WIDTHS: dict[str, tuple[tuple[str, int | None], ...]] = {
    table.name: tuple((column.name, column.type.length) for column in table.c if isinstance(column.type, String))
    for table in (registered_models, model_versions, artifact_files, history)
}
_LARGEST_INTEGER = 2**63 - 1
_HASH_SOURCES = frozenset(get_args(HashSource))


def version_values(registry: str, record: VersionRecord) -> RowValues:
    """The columns that a save sets, except ids and times.

    Raises:
        Stalled: RowRejected, a value does not fit its column.
    """
    values = {
        "registry": registry,
        "model": record.model,
        "version": record.version,
        "namespace": record.namespace,
        "object_name": record.object_name,
        "uid": record.uid,
        "uri": record.uri,
        "state": record.state,
        "phase": record.phase,
        "digest": record.digest,
        "hardware_profile": record.hardware_profile,
        "artifact": None if record.artifact is None else dump_artifact(record.artifact),
        "spec": record.spec,
        "governance": record.governance,
    }
    return _checked(model_versions, values, f"version {record.version!r} of model {record.model!r}")


def version_of(row: AnyRow) -> VersionRecord:
    """The record of a row of ``VERSION_COLUMNS``.

    Raises:
        Stalled: RowUnreadable, naming the row.
    """
    id_, model_id, model, version, namespace, object_name, uid, uri, state, phase, digest, profile, *texts = row
    artifact, spec, governance = texts
    try:
        checked = None if artifact is None else load_artifact(artifact)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Stalled(
            reason="RowUnreadable",
            message=f"Row {id_} of table model_versions (version {version!r} of model {model!r}) does not decode: "
            f"column artifact: {type(error).__name__}: {str(error)[:200]}",
            remedy="Restore the column from a backup, or set it to NULL: the artifact is then checked again.",
        ) from None
    return VersionRecord(
        id=id_,
        model_id=model_id,
        model=model,
        version=version,
        namespace=namespace,
        object_name=object_name,
        uid=uid,
        uri=uri,
        state=state,
        phase=phase,
        digest=digest,
        hardware_profile=profile,
        artifact=checked,
        spec=spec,
        governance=governance,
    )


def model_values(registry: str, record: ModelRecord) -> RowValues:
    """The columns that a save sets, except id and times.

    Raises:
        Stalled: RowRejected, a value does not fit its column.
    """
    values = {
        "registry": registry,
        "name": record.name,
        "namespace": record.namespace,
        "uid": record.uid,
        "state": record.state,
        "spec": record.spec,
        "held": record.held,
    }
    return _checked(registered_models, values, f"model {record.name!r}")


def model_of(row: AnyRow) -> ModelRecord:
    """The record of a row of ``MODEL_COLUMNS``."""
    id_, name, namespace, uid, state, spec, held = row
    return ModelRecord(id=id_, name=name, namespace=namespace, uid=uid, state=state, spec=spec, held=held)


def file_values(registry: str, model: str, version: str, record: FileRecord) -> RowValues:
    """The whole row of a file.

    Raises:
        Stalled: RowRejected, a value does not fit its column.
    """
    what = f"file {record.path[:200]!r} of version {version!r} of model {model!r}"
    if not 0 <= record.size <= _LARGEST_INTEGER:
        raise _rejected(what, "size", f"is {record.size}", f"between 0 and {_LARGEST_INTEGER}")
    values = {
        "registry": registry,
        "model": model,
        "version": version,
        "path": record.path,
        "size": record.size,
        "etag": record.etag,
        "sha256": record.sha256,
        "source": record.source,
        "modified": record.modified or None,
        "version_id": record.version_id or None,
        "hashed_at": record.hashed_at,
    }
    return _checked(artifact_files, values, what) | {"path_hash": path_hash(record.path)}


def file_of(row: AnyRow) -> FileRecord:
    """The record of a row of ``FILE_COLUMNS``."""
    path, size, etag, sha256, source, modified, version_id, hashed_at = row
    return FileRecord(
        path=path,
        size=size,
        etag=etag,
        sha256=sha256,
        source=source if source in _HASH_SOURCES else None,
        modified=modified or "",
        version_id=version_id or "",
        hashed_at=hashed_at,
    )


def path_hash(path: str) -> str:
    """SHA-256 of a path: paths are too long for an index."""
    return hashlib.sha256(path.encode()).hexdigest()


def change_values(change: StateChange, what: str) -> RowValues:
    """The columns of a history row, except ids. Characters of the message that no database takes are escaped.

    Raises:
        Stalled: RowRejected, a value does not fit its column.
    """
    values = {
        "at": change.at,
        "actor": change.actor,
        "state_before": change.before,
        "state_after": change.after,
        "digest": change.digest,
        "reason": change.reason,
        "message": change.message.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00"),
    }
    if change.at.tzinfo is None:
        raise _rejected(what, "at", f"is {change.at.isoformat()}", "a time with its zone")
    return _checked(history, values, f"history of {what}")


def change_of(row: AnyRow) -> StateChange:
    """The entry of a row of ``CHANGE_COLUMNS``."""
    at, actor, before, after, digest, reason, message = row
    return StateChange(at=at, actor=actor, before=before, after=after, digest=digest, reason=reason, message=message)


def check_key(table: Table, **key: str) -> None:
    """Refuses a key that no row can have, as a lookup of it would not be one.

    Raises:
        Stalled: RowRejected.
    """
    _checked(table, key, f"key of {table.name}")


def _checked(table: Table, values: RowValues, what: str) -> RowValues:
    for column, width in _WIDTHS[table.name]:
        value = values.get(column)
        if value is None:
            continue
        if width is not None and len(value) > width:
            raise _rejected(what, column, f"has {len(value)} characters", f"at most {width}")
        if not value.isascii() and _has_surrogates(value):
            raise _rejected(what, column, "is not valid Unicode", "text that UTF-8 can encode")
        if "\x00" in value:
            raise _rejected(what, column, "contains a NUL character", "text without one")
    return values


def _has_surrogates(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def _rejected(what: str, column: str, found: str, wanted: str) -> Stalled:
    return Stalled(
        reason="RowRejected",
        message=f"The {what} cannot be kept: its {column} {found}, wanted {wanted}",
        remedy=f"Change the {column}.",
    )
