"""AWS Signature Version 4 in the Authorization header, for requests without a body.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote

__all__ = ["Signer", "encode_path", "encode_query"]

_UNRESERVED = "-_.~"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def encode_path(path: str) -> str:
    """``path`` as S3 wants it in a URL: each byte of its UTF-8 but letters, digits, ``-_.~`` and ``/`` escaped."""
    return quote(path.encode("utf-8", "surrogateescape"), safe=_UNRESERVED + "/")


def encode_query(parameters: Mapping[str, str]) -> str:
    """The query string in the order that is signed."""
    pairs = (f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for name, value in parameters.items())
    return "&".join(sorted(pairs))


class Signer:
    """Signs requests for one region with one access key. The key of a day is derived once."""

    def __init__(self, *, access_key_id: str, secret_access_key: str, region: str) -> None:
        self._access_key_id = access_key_id
        self._secret = f"AWS4{secret_access_key}".encode()
        self._region = region
        self._day = ""
        self._day_key = b""

    def __repr__(self) -> str:
        return f"Signer(region={self._region!r})"

    def sign(
        self, method: str, *, host: str, path: str, query: str, headers: Mapping[str, str], at: datetime
    ) -> dict[str, str]:
        """The headers to send: ``headers`` (lower-case names) with those that authenticate the request.

        ``path`` and ``query`` are encoded as in the URL. Of ``headers``, ``x-amz-*`` are signed.
        """
        stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        added = {"host": host, "x-amz-content-sha256": _EMPTY_SHA256, "x-amz-date": stamp}
        signed = {**{name: value for name, value in headers.items() if name.startswith("x-amz-")}, **added}
        names = sorted(signed)
        canonical = "\n".join(
            (method, path, query, *(f"{name}:{signed[name]}" for name in names), "", ";".join(names), _EMPTY_SHA256)
        )
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_of(stamp[:8]), text.encode(), "sha256").hex()
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key_id}/{scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return {**headers, **added, "authorization": authorization}

    def _key_of(self, day: str) -> bytes:
        if day != self._day:
            key = self._secret
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._day_key = day, key
        return self._day_key
