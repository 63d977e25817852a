"""Signs requests with and without a body, with whatever credentials boto3 finds: short-lived ones are renewed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gatehouse.objectstore.transport import CONTENT_SHA256

__all__ = ["UploadSigner"]

_NO_BODY: Final = hashlib.sha256(b"").hexdigest()
_PAYLOAD: Final = "gatehouse_payload_sha256"


class UploadSigner:
    """Signs requests for one region. The hash of a body is signed with them, so that nobody can change it."""

    def __init__(self, credentials: Credentials, *, region: str) -> None:
        self._credentials = credentials
        self._region = region

    def __repr__(self) -> str:
        return f"UploadSigner(region={self._region!r})"

    def sign(self, method: str, *, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """``headers`` with those that authenticate the request. ``url`` is encoded as it will be sent.

        Raises botocore's BotoCoreError when credentials that ran out cannot be renewed.
        """
        request = AWSRequest(method=method, url=url, headers=dict(headers))
        request.context[_PAYLOAD] = headers.get(CONTENT_SHA256, _NO_BODY)
        _KnownPayload(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        return dict(request.headers.items())


class _KnownPayload(S3SigV4Auth):
    """Takes the body's hash from the request rather than reading the body once more."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.context[_PAYLOAD])
