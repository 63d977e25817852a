"""The conditions under which the store's own checksum may replace reading the bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping

__all__ = ["full_object_sha256"]

_SHA256 = "x-amz-checksum-sha256"
_TYPE = "x-amz-checksum-type"
_SHA256_BYTES = 32


def full_object_sha256(headers: Mapping[str, str]) -> str | None:
    """Hex SHA-256 of the whole object from the headers of a HEAD with ``x-amz-checksum-mode: ENABLED``, or None.

    The type must be FULL_OBJECT. A multipart upload has a COMPOSITE checksum, a hash of hashes. Some stores return it
    without the ``-N`` that identifies it, so that it resembles a checksum of the whole object.
    """
    value = headers.get(_SHA256)
    if value is None or headers.get(_TYPE) != "FULL_OBJECT":
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == _SHA256_BYTES else None
