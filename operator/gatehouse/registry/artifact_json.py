"""An artifact record as the JSON text that its row keeps."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final, get_args

import orjson

from gatehouse.domain.artifact import ArtifactOutcome, ArtifactRecord, ArtifactSummary, ContentSource, Problem
from gatehouse.domain.model_config import ModelConfig
from gatehouse.domain.signature import SignatureRecord

__all__ = ["dump_artifact", "load_artifact"]

_READING: Final = 2
"""How config.json is read, counted up when what is kept of it changes its meaning."""
_OUTCOMES = frozenset(get_args(ArtifactOutcome))
_SOURCES = frozenset(get_args(ContentSource))


def dump_artifact(record: ArtifactRecord) -> str:
    """JSON text. What JSON cannot say (half a surrogate pair in an object's name) is written as an escape."""
    document = _document(record)
    try:
        return orjson.dumps(document).decode()
    except TypeError:
        return orjson.dumps(_escaped(document)).decode()


def load_artifact(text: str) -> ArtifactRecord:
    """What :func:`dump_artifact` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: the text is not that.
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
        problems=tuple([Problem(**problem) for problem in kept.get("problems", ())]),
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
            {"rule": each.rule, "found": each.found, "wanted": each.wanted, "remedy": each.remedy}
            for each in record.problems
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
        # Whether config.json switched the window off was not kept: without one, more memory is asked for.
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
    found: ContentSource | None = kept
    return found


def _signature(kept: dict[str, Any]) -> SignatureRecord:
    return SignatureRecord(**kept | {"certificates": tuple(kept["certificates"])})


_LARGEST: Final = 2**53 - 1


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        # A header may claim more than any number of JSON can hold.
        return min(value, _LARGEST) if value > 0 else max(value, -_LARGEST)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(member) for member in value]
    return value
