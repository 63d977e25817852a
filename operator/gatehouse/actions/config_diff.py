"""Changes of the small files that steer a model, read from the store. Only verified bytes are compared."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError

from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.common.text_diff import readable, unified
from gatehouse.domain.version.diff import Side
from gatehouse.domain.version.records import FileRecord
from gatehouse.errors import ActionError, Refused
from gatehouse.storage.metrics import NoMetrics
from gatehouse.storage.s3.client import S3Store
from gatehouse.storage.s3.uploads import open_bucket
from gatehouse.upload.access import StoreFlags, bucket_access, location_of

__all__ = ["LARGEST_FILE", "FileChange", "changed_contents"]

LARGEST_FILE: Final = 1_048_576
"""The most bytes of a file that is read."""
MOST_FILES: Final = 32

_STEERING: Final = re.compile(
    r"(config|generation_config|tokenizer_config)\.json|chat_template\.(jinja|json)|(additional_)?chat_templates/[^/]+\.jinja"
)
"""Configurations and chat templates beside the weights."""
_SAME_TEXT: Final = "the bytes differ, but not what they say"


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that differs: the lines of a unified diff, or why there are none."""

    path: str
    lines: tuple[str, ...] = ()
    problem: str | None = None

    def wire(self) -> dict[str, Any]:
        """What ``-o json`` prints."""
        return {"path": self.path, "diff": "\n".join(self.lines), "problem": self.problem}


class _NotShown(Exception):
    """A file is not read, or its bytes are not the verified ones."""


async def changed_contents(a: Side, b: Side) -> tuple[FileChange, ...]:
    """Every steering file whose recorded hashes differ between two sides with rows.

    Store and credentials are those that boto3 finds. Raises Refused when the store cannot be read.
    """
    differing = [path for path in sorted({**_steering(a), **_steering(b)}) if _hash(a, path) != _hash(b, path)]
    try:
        return tuple([await _change(path, a, b) for path in differing[:MOST_FILES]])
    except ReconcileError as error:
        raise Refused(f"the files cannot be read: {error.advice}") from None
    except (ActionError, BotoCoreError, OSError) as error:
        raise Refused(f"the files cannot be read: {error}") from None


def _steering(side: Side) -> Mapping[str, FileRecord]:
    return {path: file for path, file in (side.files or {}).items() if _STEERING.fullmatch(path)}


def _hash(side: Side, path: str) -> str | None:
    file = (side.files or {}).get(path)
    return file.sha256 if file else None


async def _change(path: str, a: Side, b: Side) -> FileChange:
    try:
        before, after = await _texts(path, a), await _texts(path, b)
    except _NotShown as error:
        return FileChange(path, problem=str(error))
    lines = tuple(unified(before, after, names=(_where(a), _where(b))))
    return FileChange(path, lines, None if lines else _SAME_TEXT)


async def _texts(path: str, side: Side) -> Mapping[str, str]:
    file = (side.files or {}).get(path)
    if file is None:
        return {}
    if file.size > LARGEST_FILE:
        raise _NotShown(f"{file.size} bytes in {_where(side)}; expected: at most {LARGEST_FILE}")
    location = location_of(side.version.spec.artifact.uri)
    async with open_bucket(bucket_access(location.bucket, StoreFlags()), metrics=NoMetrics()) as bucket:
        data = await _read(bucket.store, location.prefix, file, side)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _NotShown(f"the store has other bytes for {_where(side)} than those that were verified")
    return readable(path, data)


async def _read(store: S3Store, prefix: str, file: FileRecord, side: Side) -> bytes:
    stored = StoredObject(path=file.path, size=file.size, etag=file.etag)
    try:
        return await store.read(prefix, stored, start=0, length=file.size)
    except ReconcileError as error:
        if error.reason != "ObjectChanged":
            raise
        raise _NotShown(f"the store has another file for {_where(side)} than the one that was verified") from None


def _where(side: Side) -> str:
    return f"{side.version.metadata.namespace}/{side.version.metadata.name}"
