"""The checksums that S3 states in headers, and the conditions under which one may replace reading the bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from gatehouse.storage.parts import StoredSum
from gatehouse.storage.port import Body

__all__ = ["announced_sha256", "full_object_sha256", "hex_sha256", "stored_sum"]

_SHA256 = "x-amz-checksum-sha256"
_TYPE = "x-amz-checksum-type"
_SHA256_BYTES = 32


def full_object_sha256(headers: Mapping[str, str]) -> str | None:
    """Hex SHA-256 of the whole object from the headers of a HEAD with ``x-amz-checksum-mode: ENABLED``, or None.

    The type must be FULL_OBJECT. A multipart upload has a COMPOSITE checksum, a hash of hashes. Some stores return it
    without the ``-N`` that identifies it, so that it resembles a checksum of the whole object.
    """
    return hex_sha256(headers.get(_SHA256, "")) if headers.get(_TYPE) == "FULL_OBJECT" else None


def stored_sum(headers: Mapping[str, str], *, size: int) -> StoredSum:
    """The sums in the headers of a HEAD with ``x-amz-checksum-mode: ENABLED``."""
    value = headers.get(_SHA256, "").partition("-")[0]
    composite = hex_sha256(value) if headers.get(_TYPE) == "COMPOSITE" else None
    return StoredSum(size=size, etag=headers.get("ETag", ""), sha256=full_object_sha256(headers), composite=composite)


def announced_sha256(body: Body) -> dict[str, str]:
    """The header that announces the SHA-256 of a body."""
    return {_SHA256: base64.b64encode(bytes.fromhex(body.sha256)).decode()}


def hex_sha256(value: str) -> str | None:
    """A SHA-256 in hex from its base64; None for any other text."""
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == _SHA256_BYTES else None
