"""Records of the audit trail: one changed fact each, as canonical JSON text that a chain of hashes covers.

The stored text itself is hashed, so that a database's handling of numbers or times cannot change it. The text is JSON
with sorted keys, without spaces, in UTF-8; it has no fractions, which programs write differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

__all__ = [
    "FORMAT",
    "GENESIS",
    "LARGEST_FACTS",
    "LONGEST_MESSAGE",
    "SYSTEM_ACTOR",
    "UNKNOWN_ACTOR",
    "AuditHead",
    "AuditRecord",
    "FactChange",
    "FactDocument",
    "RecordUnreadable",
    "StoredRecord",
    "canonical",
    "digest_of",
    "fact_document",
    "read_record",
    "seal",
    "time_text",
]

FORMAT: Final = 1
GENESIS: Final = "0" * 64
"""The hash that the first record of a chain names as its predecessor's."""
UNKNOWN_ACTOR: Final = "unknown"
"""The actor of a change that neither the object nor a watch attributes; the API server's own audit log does."""
SYSTEM_ACTOR: Final = "gatehouse"
"""The actor of Gatehouse's own changes, in audit records, in the history and in managed fields."""
LONGEST_MESSAGE: Final = 4_000
"""Characters."""
LARGEST_FACTS: Final = 8 * 1024
"""Bytes of JSON that ``before`` and ``after`` may have each."""
LONGEST_NAME: Final = 1_024
DEEPEST: Final = 8
_LARGEST_NUMBER: Final = 2**53 - 1
_SORTED: Final = orjson.OPT_SORT_KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    """One fact that changed.

    ``at`` has a zone. ``actor`` is the user who changed the fact, ``SYSTEM_ACTOR`` for what follows from facts by
    itself. ``kind`` is that of the object (``ModelVersion``, ``ModelApproval`` …) and ``namespace`` and ``name`` are
    the object's; ``model`` and ``version`` name the version, ``digest`` its bytes. ``reason`` is one stable word.
    ``before`` and ``after`` are small: JSON values by name; a value that is too large is recorded by its hash.
    """

    at: datetime
    actor: str
    kind: str
    namespace: str
    name: str
    model: str | None = None
    version: str | None = None
    digest: str | None = None
    reason: str
    message: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The object, as in ``ModelVersion team/granite-1``."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


FactDocument = dict[str, Any]
"""A changed fact as JSON values, without a place in a chain."""


class StoredRecord(NamedTuple):
    """A row of the trail. ``hash`` is the hex SHA-256 of ``content`` in UTF-8."""

    seq: int
    content: str
    hash: str


class AuditHead(NamedTuple):
    """The newest record of a chain, and the newest checkpoint's ``seq`` (0 when there is none)."""

    seq: int
    hash: str
    checkpoint: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A parsed record. ``previous`` is the hash of the record before it."""

    registry: str
    seq: int
    previous: str
    hash: str
    fact: FactChange


class RecordUnreadable(ValueError):
    """The content of a record is not in the format that Gatehouse writes."""


def canonical(document: Mapping[str, Any]) -> str:
    """JSON text with sorted keys and no spaces."""
    return orjson.dumps(document, option=_SORTED).decode()


def digest_of(content: str) -> str:
    """Hex SHA-256 of a text. Half a surrogate pair, which no record has, is hashed as it is."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def time_text(at: datetime) -> str:
    """Formatted as ``2026-11-21T12:30:15.123456Z``. Raises ValueError without a zone, which would be a guess."""
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no time zone")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def fact_document(fact: FactChange) -> FactDocument:
    """A changed fact as JSON values of bounded size; larger values are cut or hashed, and marked as such.

    Raises:
        ValueError: the time has no zone.
        TypeError: ``before`` or ``after`` holds a value without a form in JSON.
    """
    return {
        "v": FORMAT,
        "at": time_text(fact.at),
        "actor": _name(fact.actor),
        "kind": _name(fact.kind),
        "namespace": _name(fact.namespace),
        "name": _name(fact.name),
        "model": None if fact.model is None else _name(fact.model),
        "version": None if fact.version is None else _name(fact.version),
        "digest": None if fact.digest is None else _name(fact.digest),
        "reason": _name(fact.reason),
        "message": _cut(_text(fact.message), LONGEST_MESSAGE),
        "before": _bounded(fact.before),
        "after": _bounded(fact.after),
    }


def seal(document: FactDocument, *, registry: str, seq: int, previous: str) -> StoredRecord:
    """The record of a fact at its place in the chain of a registry."""
    content = canonical(document | {"registry": registry, "seq": seq, "previous": previous})
    return StoredRecord(seq, content, digest_of(content))


def read_record(stored: StoredRecord) -> AuditRecord:
    """The record in a row, whatever its hash is.

    Raises:
        RecordUnreadable: the content is not that of a record.
    """
    try:
        kept: dict[str, Any] = orjson.loads(stored.content)
        fact = FactChange(
            at=_read_time(kept["at"]),
            actor=_read_text(kept["actor"]),
            kind=_read_text(kept["kind"]),
            namespace=_read_text(kept["namespace"]),
            name=_read_text(kept["name"]),
            model=None if kept["model"] is None else _read_text(kept["model"]),
            version=None if kept["version"] is None else _read_text(kept["version"]),
            digest=None if kept["digest"] is None else _read_text(kept["digest"]),
            reason=_read_text(kept["reason"]),
            message=_read_text(kept["message"]),
            before=dict(kept["before"]),
            after=dict(kept["after"]),
        )
        return AuditRecord(
            registry=_read_text(kept["registry"]),
            seq=_read_number(kept["seq"]),
            previous=_read_text(kept["previous"]),
            hash=stored.hash,
            fact=fact,
        )
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RecordUnreadable(f"record {stored.seq} cannot be read: {type(error).__name__}: {error}") from None


def _read_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"it has a {type(value).__name__} instead of a text")
    return value


def _read_number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"it has a {type(value).__name__} instead of a whole number")
    return value


def _read_time(value: object) -> datetime:
    at = datetime.fromisoformat(_read_text(value))
    if at.tzinfo is None:
        raise ValueError("its time has no time zone")
    return at.astimezone(UTC)


def _name(value: str) -> str:
    return _cut(_text(value), LONGEST_NAME)


def _cut(value: str, longest: int) -> str:
    return value if len(value) <= longest else f"{value[:longest]}… ({len(value) - longest} more characters)"


def _text(value: str) -> str:
    """Text that JSON cannot express (half a surrogate pair) becomes an escape."""
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _bounded(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """``facts`` as JSON values. If they are too large, the largest members become hashes, and at last the whole."""
    if not facts:
        return {}
    document: dict[str, Any] = {_name(str(key)): _plain(value, depth=1) for key, value in facts.items()}
    sizes = {key: len(orjson.dumps(value)) + len(key) for key, value in document.items()}
    left = sum(sizes.values())
    for key in sorted(sizes, key=lambda each: -sizes[each]):
        if left <= LARGEST_FACTS:
            break
        summary = _summary(document[key])
        left += len(orjson.dumps(summary)) + len(key) - sizes[key]
        document[key] = summary
    return document if left <= LARGEST_FACTS else _summary(document)


def _summary(value: Any) -> dict[str, Any]:
    encoded = orjson.dumps(value, option=_SORTED)
    return {"sha256": hashlib.sha256(encoded).hexdigest(), "bytes": len(encoded)}


def _plain(value: Any, *, depth: int) -> Any:
    if depth > DEEPEST:
        raise TypeError(f"a fact is nested more than {DEEPEST} deep")
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int():
            return value if abs(value) <= _LARGEST_NUMBER else str(value)
        case float():
            return repr(value)
        case datetime():
            return time_text(value)
        case Mapping():
            return {_text(str(key)): _plain(member, depth=depth + 1) for key, member in value.items()}
        case list() | tuple():
            return [_plain(member, depth=depth + 1) for member in value]
        case _:
            raise TypeError(f"a fact holds a {type(value).__name__}, which JSON cannot hold")
