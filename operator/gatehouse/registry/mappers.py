"""Maps records to rows and back. Refuses a value that no column can hold before the value joins a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, get_args

import orjson
from sqlalchemy import String, Table

from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.signature import SignatureRecord
from gatehouse.domain.artifact.values import ArtifactOutcome, ArtifactRecord, ArtifactSummary, ContentSource, HashSource
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.version.records import FileRecord, ModelRecord, StateChange, VersionRecord
from gatehouse.registry.tables import artifact_files, entries, history, model_versions, registered_models

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
    "check_values",
    "dump_artifact",
    "file_of",
    "file_values",
    "load_artifact",
    "model_of",
    "model_values",
    "path_hash",
    "version_of",
    "version_values",
]

_READING: Final = 2
"""The version of the config.json reader, raised when the meaning of the kept values changes."""
_OUTCOMES = frozenset(get_args(ArtifactOutcome))
_SOURCES = frozenset(get_args(ContentSource))


def dump_artifact(record: ArtifactRecord) -> str:
    """JSON text. Writes text that JSON cannot represent (half a surrogate pair in an object's name) as an escape."""
    document = _document(record)
    try:
        return orjson.dumps(document).decode()
    except TypeError:
        return orjson.dumps(_escaped(document)).decode()


def load_artifact(text: str) -> ArtifactRecord:
    """The record that :func:`dump_artifact` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the text is no such record.
    """
    kept: dict[str, Any] = orjson.loads(text)
    if kept["outcome"] not in _OUTCOMES:
        raise ValueError(f"outcome is {kept['outcome']!r}, not one of {', '.join(sorted(_OUTCOMES))}")
    summary, signature = kept.get("summary"), kept.get("signature")
    return ArtifactRecord(
        outcome=kept["outcome"],
        fingerprint=kept["fingerprint"],
        digest=kept.get("digest"),
        verified_at=_time(kept["verified_at"]),
        summary=None if summary is None else _summary(summary),
        problems=tuple([_finding(**problem) for problem in kept.get("problems", ())]),
        changed=tuple(kept.get("changed", ())),
        signature=None if signature is None else _signature(signature),
        content_source=_source(kept.get("content_source")),
        read_at=_moment(kept.get("read_at")),
        missing_since=_moment(kept.get("missing_since")),
        doubted=bool(kept.get("doubted")),
        rules=int(kept.get("rules", 0)),
    )


def _document(record: ArtifactRecord) -> dict[str, Any]:
    document: dict[str, Any] = {
        "outcome": record.outcome,
        "fingerprint": record.fingerprint,
        "digest": record.digest,
        "verified_at": record.verified_at.astimezone(UTC).isoformat(),
        "rules": record.rules,
    }
    summary = record.summary
    if summary is not None:
        document["summary"] = {
            "format": summary.format,
            "files": summary.files,
            "total_bytes": summary.total_bytes,
            "parameters": summary.parameters,
            "weights_bytes": summary.weights_bytes,
            "dtypes": dict(summary.dtypes),
            "config": None if summary.config is None else summary.config.to_dict(),
            "config_reading": _READING,
            "model_file": summary.model_file,
            "unsafe_files": summary.unsafe_files,
            "notes": summary.notes,
            "head_bytes": summary.head_bytes,
            "unloaded_bytes": summary.unloaded_bytes,
        }
    if record.problems:
        document["problems"] = [
            {"rule": problem.reason, "found": problem.found, "wanted": problem.expected, "remedy": problem.remedy}
            for problem in record.problems
        ]
    if record.changed:
        document["changed"] = record.changed
    if record.signature is not None:
        document["signature"] = asdict(record.signature)
    if record.content_source is not None:
        document["content_source"] = record.content_source
    if record.read_at is not None:
        document["read_at"] = record.read_at.astimezone(UTC).isoformat()
    if record.missing_since is not None:
        document["missing_since"] = record.missing_since.astimezone(UTC).isoformat()
    if record.doubted:
        document["doubted"] = True
    return document


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} has no zone")
    return at


def _summary(kept: dict[str, Any]) -> ArtifactSummary:
    config = None if kept["config"] is None else ModelConfig.from_dict(kept["config"])
    if config is not None and config.sliding_window is None and kept.get("config_reading") != _READING:
        # The row did not keep whether config.json switched the window off: without a window, the estimate is higher.
        config = replace(config, sliding_window=0)
    return ArtifactSummary(
        format=kept["format"],
        files=kept["files"],
        total_bytes=kept["total_bytes"],
        parameters=kept["parameters"],
        weights_bytes=kept["weights_bytes"],
        dtypes=kept["dtypes"],
        config=config,
        model_file=kept.get("model_file"),
        unsafe_files=tuple(kept["unsafe_files"]),
        notes=tuple(kept["notes"]),
        head_bytes=kept.get("head_bytes", 0),
        unloaded_bytes=kept.get("unloaded_bytes", 0),
    )


def _moment(kept: str | None) -> datetime | None:
    return None if kept is None else datetime.fromisoformat(kept)


def _source(kept: Any) -> ContentSource | None:
    if kept is not None and kept not in _SOURCES:
        raise ValueError(f"content_source is {kept!r}, not one of {', '.join(sorted(_SOURCES))}")
    source: ContentSource | None = kept
    return source


def _finding(*, rule: str, found: str, wanted: str, remedy: str) -> Finding:
    """A finding by its names in a row."""
    return Finding(reason=rule, found=found, expected=wanted, remedy=remedy)


def _signature(kept: dict[str, Any]) -> SignatureRecord:
    return SignatureRecord(**kept | {"certificates": tuple(kept["certificates"])})


_LARGEST: Final = 2**53 - 1


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        # A header may claim a number larger than JSON can hold.
        return min(value, _LARGEST) if value > 0 else max(value, -_LARGEST)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(member) for member in value]
    return value


RowValues = dict[str, Any]
"""Parameters of one row, by column."""

AnyRow: TypeAlias = Sequence[Any]
"""Values of the columns of a query, in the query's order."""

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
    _V.shown,
)
MODEL_COLUMNS = (_M.id, _M.name, _M.namespace, _M.uid, _M.state, _M.spec, _M.held)
FILE_COLUMNS = (_F.path, _F.size, _F.etag, _F.sha256, _F.source, _F.modified, _F.version_id, _F.hashed_at)
CHANGE_COLUMNS = (_H.at, _H.actor, _H.state_before, _H.state_after, _H.digest, _H.reason, _H.message)

_WIDTHS: dict[str, tuple[tuple[str, int | None], ...]] = {
    table.name: tuple((column.name, column.type.length) for column in table.c if isinstance(column.type, String))
    for table in (registered_models, model_versions, artifact_files, history, entries)
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
        "shown": record.shown,
    }
    return check_values(model_versions, values, f"version {record.version!r} of model {record.model!r}")


def version_of(row: AnyRow) -> VersionRecord:
    """The record of a row of ``VERSION_COLUMNS``.

    Raises:
        Stalled: RowUnreadable, naming the row.
    """
    id_, model_id, model, version, namespace, object_name, uid, uri, state, phase, digest, profile, *texts = row
    artifact, spec, governance, shown = texts
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
        shown=shown,
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
    return check_values(registered_models, values, f"model {record.name!r}")


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
    return check_values(artifact_files, values, what) | {"path_hash": path_hash(record.path)}


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
    return check_values(history, values, f"history of {what}")


def change_of(row: AnyRow) -> StateChange:
    """The entry of a row of ``CHANGE_COLUMNS``."""
    at, actor, before, after, digest, reason, message = row
    return StateChange(at=at, actor=actor, before=before, after=after, digest=digest, reason=reason, message=message)


def check_key(table: Table, **key: str) -> None:
    """Refuses a key that no row can have, because its lookup would be meaningless.

    Raises:
        Stalled: RowRejected.
    """
    check_values(table, key, f"key of {table.name}")


def check_values(table: Table, values: RowValues, what: str) -> RowValues:
    """The values, if each text fits its column and is text that every database takes.

    Raises:
        Stalled: RowRejected.
    """
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


def _rejected(what: str, column: str, fault: str, allowed: str) -> Stalled:
    return Stalled(
        reason="RowRejected",
        message=f"The {what} cannot be kept: its {column} {fault}, expected {allowed}",
        remedy=f"Change the {column}.",
    )
