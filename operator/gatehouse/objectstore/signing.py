"""Requests without a body as S3 wants them: names escaped byte by byte, signed by botocore.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

__all__ = ["Signer", "encode_path", "encode_query"]

_UNRESERVED = "-_.~"


def encode_path(path: str) -> str:
    """``path`` as S3 wants it in a URL: each byte of its UTF-8 but letters, digits, ``-_.~`` and ``/`` escaped."""
    return quote(path.encode("utf-8", "surrogateescape"), safe=_UNRESERVED + "/")


def encode_query(parameters: Mapping[str, str]) -> str:
    """The query string in the order that is signed."""
    pairs = (f"{quote(name, safe=_UNRESERVED)}={quote(value, safe=_UNRESERVED)}" for name, value in parameters.items())
    return "&".join(sorted(pairs))


class Signer:
    """Signs requests for one region with one access key."""

    def __init__(self, *, access_key_id: str, secret_access_key: str, region: str) -> None:
        self._auth = S3SigV4Auth(Credentials(access_key_id, secret_access_key), "s3", region)
        self._region = region

    def __repr__(self) -> str:
        return f"Signer(region={self._region!r})"

    def sign(self, method: str, *, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """``headers`` with those that authenticate the request. ``url`` is encoded as it will be sent."""
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        self._auth.add_auth(request)
        return dict(request.headers.items())
