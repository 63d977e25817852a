"""The parts of a large object, and the store's answers about the parts that it has. Pure.

The place of a part depends on the object's size alone. A later run therefore cuts a file like the run before, and can
recognise its parts. S3 allows 10,000 parts for each object.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from gatehouse.storage.s3.checksums import full_object_sha256
from gatehouse.storage.s3.xml import DocumentError, DocumentShape, read_document

__all__ = [
    "COPY_BYTES",
    "MAX_OBJECT_BYTES",
    "PART_BYTES",
    "SINGLE_BYTES",
    "Part",
    "PartsPage",
    "StoredPart",
    "StoredSum",
    "completion",
    "composite_sha256",
    "parse_begun",
    "parse_copied",
    "parse_parts",
    "parse_unfinished",
    "part_size",
    "parts_of",
    "stored_sum",
]

PART_BYTES: Final = 32 * 1024 * 1024
SINGLE_BYTES: Final = 64 * 1024 * 1024
"""Objects up to this size are sent in one request: sending one again costs less than listing its parts."""
COPY_BYTES: Final = 5 * 1024**3
"""The largest object that one CopyObject accepts."""
MAX_OBJECT_BYTES: Final = 5 * 1024**4
_MAX_PARTS: Final = 10_000
_SHA256_BYTES: Final = 32
_SIZE = re.compile(r"[0-9]{1,19}")
_NUMBER = re.compile(r"[0-9]{1,5}")
_UPLOAD_ID = re.compile(r"[\x21-\x7e]{1,1024}")
_ETAG = re.compile(r"[\x21-\x7e]{1,256}")

_BEGUN: Final = DocumentShape(root="InitiateMultipartUploadResult", fields=frozenset({"UploadId"}))
_COPIED: Final = DocumentShape(root="CopyObjectResult", fields=frozenset({"ETag"}))
_UNFINISHED: Final = DocumentShape(
    root="ListMultipartUploadsResult",
    fields=frozenset(),
    entry="Upload",
    entry_fields=frozenset({"Key", "UploadId"}),
)
_PARTS: Final = DocumentShape(
    root="ListPartsResult",
    fields=frozenset({"IsTruncated", "NextPartNumberMarker"}),
    entry="Part",
    entry_fields=frozenset({"PartNumber", "ETag", "Size", "ChecksumSHA256"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of an object to be sent; ``number`` counts from 1, ``start`` and ``size`` are bytes."""

    number: int
    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """One part that the store has; ``sha256`` is lower-case hex, None where the store does not report it."""

    number: int
    size: int
    etag: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class PartsPage:
    """Some parts of an unfinished upload, and the number after which the next page begins, if any."""

    parts: tuple[StoredPart, ...]
    next_marker: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSum:
    """The store's statement about an object: size in bytes, ETag, and its SHA-256 in hex.

    ``sha256`` is that of the whole object, ``composite`` that of its parts' SHA-256 after one another; at most one is
    known.
    """

    size: int
    etag: str
    sha256: str | None
    composite: str | None


def part_size(size: int) -> int:
    """Bytes of each part but the last of an object of ``size`` bytes: the least sufficient multiple of 32 MiB."""
    return PART_BYTES * max(1, -(-size // (PART_BYTES * _MAX_PARTS)))


def parts_of(size: int) -> tuple[Part, ...]:
    """The parts of an object of ``size`` bytes."""
    step = part_size(size)
    return tuple(
        Part(number=number, start=start, size=min(step, size - start))
        for number, start in enumerate(range(0, size, step), 1)
    )


def composite_sha256(parts: Sequence[str]) -> str:
    """Hex SHA-256 of the parts' SHA-256 (hex) one after the other: S3 keeps this sum for an object sent in parts."""
    return hashlib.sha256(b"".join(bytes.fromhex(part) for part in parts)).hexdigest()


def stored_sum(headers: Mapping[str, str], *, size: int) -> StoredSum:
    """The sums in the headers of a HEAD with ``x-amz-checksum-mode: ENABLED``."""
    value = headers.get("x-amz-checksum-sha256", "").partition("-")[0]
    composite = _hex(value) if headers.get("x-amz-checksum-type") == "COMPOSITE" else None
    return StoredSum(size=size, etag=headers.get("ETag", ""), sha256=full_object_sha256(headers), composite=composite)


def parse_begun(body: bytes) -> str:
    """The id of the upload that was begun. Raises DocumentError."""
    return _upload_id(read_document(body, _BEGUN).fields.get("UploadId"))


def parse_copied(body: bytes) -> str:
    """The ETag of the object that a copy made; empty where the store does not report it. Raises DocumentError."""
    return read_document(body, _COPIED).fields.get("ETag", "")


def parse_unfinished(body: bytes, *, key: str) -> tuple[str, ...]:
    """Ids of the unfinished uploads of exactly ``key``. Raises DocumentError."""
    uploads = read_document(body, _UNFINISHED).entries
    return tuple(_upload_id(upload.get("UploadId")) for upload in uploads if upload.get("Key") == key)


def parse_parts(body: bytes) -> PartsPage:
    """One page of the parts of an unfinished upload. Raises DocumentError."""
    page = read_document(body, _PARTS)
    marker = page.fields.get("NextPartNumberMarker", "")
    truncated = page.fields.get("IsTruncated") == "true"
    if truncated and not _NUMBER.fullmatch(marker):
        raise DocumentError("a truncated listing without NextPartNumberMarker")
    return PartsPage(tuple(_stored(entry) for entry in page.entries), int(marker) if truncated else None)


def completion(parts: Sequence[StoredPart]) -> bytes:
    """The body of CompleteMultipartUpload."""
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>{_checksum(part)}</Part>"
        for part in sorted(parts, key=lambda part: part.number)
    )
    name = "CompleteMultipartUpload"
    return f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}</{name}>'.encode()


def _checksum(part: StoredPart) -> str:
    if part.sha256 is None:
        return ""
    return f"<ChecksumSHA256>{base64.b64encode(bytes.fromhex(part.sha256)).decode()}</ChecksumSHA256>"


def _stored(entry: Mapping[str, str]) -> StoredPart:
    number, size, etag = entry.get("PartNumber", ""), entry.get("Size", ""), entry.get("ETag", "")
    if not _NUMBER.fullmatch(number) or not _SIZE.fullmatch(size) or not _ETAG.fullmatch(etag):
        raise DocumentError("a part without a number, a size and a plain ETag")
    return StoredPart(number=int(number), size=int(size), etag=etag, sha256=_hex(entry.get("ChecksumSHA256", "")))


def _hex(value: str) -> str | None:
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == _SHA256_BYTES else None


def _upload_id(value: str | None) -> str:
    if value is None or not _UPLOAD_ID.fullmatch(value):
        raise DocumentError("an upload without a plain UploadId")
    return value
