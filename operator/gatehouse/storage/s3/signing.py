"""Requests in the form that S3 requires: names escaped byte by byte, signed by botocore with the hash of the body.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gatehouse.storage.s3.identity import FixedCredentials, RequestCredentials

__all__ = ["CONTENT_SHA256", "RequestSigner", "encode_path", "encode_query"]

CONTENT_SHA256: Final = "x-amz-content-sha256"
"""The header that gives the signer the hex SHA-256 of a body, and that is sent."""
_NO_BODY: Final = hashlib.sha256(b"").hexdigest()
_PAYLOAD: Final = "gatehouse_payload_sha256"
_UNRESERVED = "-_.~"


def encode_path(path: str) -> str:
    """``path`` as S3 requires it in a URL: each byte of its UTF-8 but letters, digits, ``-_.~`` and ``/`` escaped."""
    return quote(path.encode("utf-8", "surrogateescape"), safe=_UNRESERVED + "/")


def encode_query(parameters: Mapping[str, str]) -> str:
    """The query string in the order for signing."""
    pairs = (f"{_quoted(name)}={_quoted(value)}" for name, value in parameters.items())
    return "&".join(sorted(pairs))


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe=_UNRESERVED)


class RequestSigner:
    """Signs requests for one region. Credentials that expire are read again for each request."""

    def __init__(self, credentials: Credentials | RequestCredentials, *, region: str) -> None:
        self._credentials: RequestCredentials = (
            FixedCredentials(credentials) if isinstance(credentials, Credentials) else credentials
        )
        self._region = region

    def __repr__(self) -> str:
        return f"RequestSigner(region={self._region!r})"

    async def sign(self, method: str, *, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """``headers`` with those that authenticate the request. ``url`` is encoded as it will be sent.

        Raises botocore's BotoCoreError when expired credentials cannot be renewed.
        """
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        request.context[_PAYLOAD] = headers.get(CONTENT_SHA256, _NO_BODY)
        _KnownPayload(await self._credentials.frozen(), "s3", self._region).add_auth(request)
        return dict(request.headers.items())


class _KnownPayload(S3SigV4Auth):
    """Takes the body's hash from the request instead of reading the body again."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context[_PAYLOAD])
