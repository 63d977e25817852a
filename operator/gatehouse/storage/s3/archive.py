"""Puts small objects that must not change into a bucket, under Object Lock where the bucket has it.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Final

import aiohttp

from gatehouse.domain.common.errors import Waiting
from gatehouse.storage.limits import RetryPolicy, retried
from gatehouse.storage.port import CopyArchive, bytes_body
from gatehouse.storage.s3.checksums import announced_sha256
from gatehouse.storage.s3.transport import StoreRequest, Transport, shown_key

__all__ = ["Archive"]

_MAX_ANSWER: Final = 64 * 1024
_NO_LOCK: Final = frozenset({"StoreRefused", "StoreLacksOperation", "AccessDenied"})
"""The answers of a bucket without Object Lock, or to credentials that may not use it."""


class Archive(CopyArchive):
    """One bucket."""

    def __init__(self, transport: Transport, *, policy: RetryPolicy) -> None:
        self._transport = transport
        self._policy = policy

    async def put(self, key: str, data: bytes, *, retain_until: datetime) -> bool:
        """Write an object; return whether the store locked it (GOVERNANCE) until ``retain_until``.

        Raises the errors that :mod:`gatehouse.storage.s3.refusals` lists.
        """
        lock = {
            "x-amz-object-lock-mode": "GOVERNANCE",
            "x-amz-object-lock-retain-until-date": f"{retain_until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        }
        try:
            await self._put(key, data, lock)
        except Waiting as error:
            if error.reason not in _NO_LOCK:
                raise
        else:
            return True
        try:
            await self._put(key, data, {})
        except Waiting as error:
            if error.reason != "StoreLacksOperation":
                raise
            # A store without checksums verifies the body's SHA-256 in the signature, and its MD5.
            await self._put(key, data, {}, announced=False)
        return False

    async def _put(self, key: str, data: bytes, headers: dict[str, str], *, announced: bool = True) -> None:
        body = bytes_body(data)
        sums = announced_sha256(body) if announced else {}

        request = StoreRequest(
            operation="put",
            method="PUT",
            key=key,
            headers={
                # Object Lock requires one of the two, and stores differ in which they support.
                "content-md5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
                "content-type": "application/json",
                **sums,
                **headers,
            },
            body=body,
            what=f"sending {shown_key(key)}",
        )

        async def consume(response: aiohttp.ClientResponse) -> None:
            await self._transport.bounded_body(response, most=_MAX_ANSWER, what=request.what)

        await retried(self._policy, lambda: self._transport.send(request, consume, deadline=self._policy.deadline))
