"""The audit facts of written rows: one fact per row, with the values before and after."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from gatehouse.domain.audit.records import SYSTEM_ACTOR, FactChange, FactDocument, digest_of, fact_document
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.writer import StoredRow

__all__ = ["archived_fact", "model_fact", "version_fact"]

_VERSION: Final = "ModelVersion"
_MODEL: Final = "RegisteredModel"
_VERSION_COLUMNS: Final = ("phase", "state", "digest", "uri", "namespace", "object_name", "uid", "hardware_profile")
_MODEL_COLUMNS: Final = ("state", "namespace", "uid")
GOVERNED: Final = "Governed"
"""Reason of the fact that an object took over a recorded row."""
_FIRST: Final = ("phase", "state", "digest", "uri")
"""The values in the first record of a version; the rest is in its spec."""

Difference = tuple[dict[str, Any], dict[str, Any]]
"""Before and after."""


def version_fact(
    key: VersionKey, values: RowValues, row: StoredRow | None, *, at: datetime, change: RowValues | None
) -> FactDocument | None:
    """The fact of a written version row; None when only the time of a check is new.

    ``row`` is the stored row, None for a new row; ``change`` is the new entry of the history.
    """
    before: dict[str, Any]
    if row is None:
        before, after = {}, {column: values[column] for column in _FIRST} | {"spec": _digest(values["spec"])}
    else:
        before, after = _differences(row, values, _VERSION_COLUMNS)
    if change is None and not after:
        return None
    entry = change or {
        "at": at,
        "actor": SYSTEM_ACTOR,
        "digest": values["digest"],
        "reason": "Registered" if row is None else GOVERNED if row.state == "RECORDED" else "Changed",
        "message": "" if row is None else f"changed: {_names(after)}",
    }
    if change is not None:
        before, after = before | {"phase": change["state_before"]}, after | {"phase": change["state_after"]}
    return _document(
        entry,
        kind=_VERSION,
        namespace=values["namespace"],
        name=values["object_name"],
        model=key.model,
        version=key.version,
        before=before,
        after=after,
    )


def model_fact(
    values: RowValues, row: StoredRow | None, *, at: datetime, made_for: VersionKey | None = None
) -> FactDocument | None:
    """The fact of a written model row; None when nothing is new."""
    before: dict[str, Any]
    if row is None:
        before, after = {}, {column: values[column] for column in _MODEL_COLUMNS} | {"spec": _digest(values["spec"])}
        reason, message = "Registered", "" if made_for is None else f"created for its {made_for}"[:500]
    else:
        before, after = _differences(row, values, _MODEL_COLUMNS)
        reason = {"ARCHIVED": "Archived", "LIVE": "Restored"}.get(after.get("state", ""), "Changed")
        message = f"changed: {_names(after)}"
        if row.state == "RECORDED":
            reason, message = GOVERNED, "an object took over the row that a client recorded"
    if not after:
        return None
    return _document(
        {"at": at, "actor": SYSTEM_ACTOR, "digest": None, "reason": reason, "message": message},
        kind=_MODEL,
        namespace=values["namespace"],
        name=values["name"],
        model=values["name"],
        version=None,
        before=before,
        after=after,
    )


def archived_fact(
    change: RowValues, *, namespace: str, name: str, model: str, version: str | None, phase: str | None
) -> FactDocument:
    """The fact of a row archived because its object is gone or replaced; a model's row without ``version``."""
    before, after = {"state": "LIVE"}, {"state": "ARCHIVED"}
    if version is not None:
        before, after = before | {"phase": phase or ""}, after | {"phase": change["state_after"]}
    return _document(
        change,
        kind=_MODEL if version is None else _VERSION,
        namespace=namespace,
        name=name,
        model=model,
        version=version,
        before=before,
        after=after,
    )


def _document(entry: Mapping[str, Any], **fact: Any) -> FactDocument:
    return fact_document(
        FactChange(
            at=entry["at"],
            actor=entry["actor"],
            digest=entry["digest"],
            reason=entry["reason"],
            message=entry["message"],
            **fact,
        )
    )


def _differences(row: StoredRow, values: RowValues, columns: tuple[str, ...]) -> Difference:
    changed = [column for column in columns if getattr(row, column) != values[column]]
    before = {column: getattr(row, column) for column in changed}
    after = {column: values[column] for column in changed}
    if row.spec != values["spec"]:
        old, new = _spec_differences(row.spec, values["spec"])
        before, after = before | {"spec": old}, after | {"spec": new}
    return before, after


def _spec_differences(before: str, after: str) -> tuple[Any, Any]:
    """The members that differ, or the hashes of texts that are not JSON objects."""
    try:
        old, new = orjson.loads(before), orjson.loads(after)
    except ValueError:
        return _digest(before), _digest(after)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return _digest(before), _digest(after)
    names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    return {name: old[name] for name in names if name in old}, {name: new[name] for name in names if name in new}


def _digest(text: str) -> dict[str, str]:
    return {"sha256": digest_of(text)}


def _names(after: Mapping[str, Any]) -> str:
    spec = after.get("spec")
    inside = [f"spec.{name}" for name in spec] if isinstance(spec, Mapping) and spec else ["spec"] if spec else []
    return ", ".join([name for name in after if name != "spec"] + inside)[:500]
