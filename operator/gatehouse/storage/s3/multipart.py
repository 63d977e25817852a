"""The documents of S3 about uploads in parts: the store's answers, and the request that completes an object. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from gatehouse.storage.parts import StoredPart
from gatehouse.storage.s3.checksums import hex_sha256
from gatehouse.storage.s3.xml import DocumentError, DocumentShape, read_document

__all__ = [
    "PartsPage",
    "completion",
    "parse_begun",
    "parse_copied",
    "parse_parts",
    "parse_unfinished",
]

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


@dataclass(frozen=True, slots=True)
class PartsPage:
    """Some parts of an unfinished upload, and the number after which the next page begins, if any."""

    parts: tuple[StoredPart, ...]
    next_marker: int | None


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
    return StoredPart(number=int(number), size=int(size), etag=etag, sha256=hex_sha256(entry.get("ChecksumSHA256", "")))


def _upload_id(value: str | None) -> str:
    if value is None or not _UPLOAD_ID.fullmatch(value):
        raise DocumentError("an upload without a plain UploadId")
    return value
