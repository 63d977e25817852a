"""When a checksum that the store itself computed may stand for reading the bytes."""

from __future__ import annotations

import base64
from collections.abc import Mapping

__all__ = ["full_object_sha256"]

_SHA256 = "x-amz-checksum-sha256"
_TYPE = "x-amz-checksum-type"
_SHA256_BYTES = 32


def full_object_sha256(headers: Mapping[str, str]) -> str | None:
    """Hex SHA-256 of the whole object from the headers of a HEAD with ``x-amz-checksum-mode: ENABLED``, or None.

    The type must say FULL_OBJECT. A multipart upload has a COMPOSITE one, a hash of hashes, which some stores return
    without the ``-N`` that gives it away, so that it looks like any other.
    """
    value = headers.get(_SHA256)
    if value is None or headers.get(_TYPE) != "FULL_OBJECT":
        return None
    try:
        digest = base64.b64decode(value, validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == _SHA256_BYTES else None
