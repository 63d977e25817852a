"""Lets the store compute the SHA-256 of objects that were sent in parts, even during an upload of another person.

A second upload may replace the object while the store copies it. Stores report this in several ways: 412 for the ETag,
or 503 SlowDownRead with a Retry-After of a minute (MinIO, when the source disappears during the copy). The object is
therefore checked before each further copy: in most cases it has its SHA-256 by then.
"""

from __future__ import annotations

from typing import Final

from gatehouse.domain.common.errors import Transient, Waiting
from gatehouse.storage.limits import retried
from gatehouse.storage.s3.multipart import COPY_BYTES, StoredSum
from gatehouse.storage.s3.uploads import Uploads

__all__ = ["Summing"]

_COPIES: Final = 3


class Summing:
    """Copies objects in one store, until a copy shows that the store computes no checksum."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads
        self._copies_sum = True

    async def ask(self, key: str) -> StoredSum | None:
        """The checksums of an object after a copy in place; None when the object does not exist.

        Raises what :mod:`gatehouse.storage.s3.refusals` lists.
        """
        return await retried(self._uploads.limits.content, lambda: self._attempt(key))

    async def _attempt(self, key: str) -> StoredSum | None:
        known = await self._uploads.head(key)
        for _ in range(_COPIES):
            if known is None or known.sha256 is not None or known.size > COPY_BYTES or not self._copies_sum:
                return known
            made = await self._copy(key, known)
            known = await self._uploads.head(key)
            if made is not None and known is not None and known.etag.strip('"') == made.strip('"'):
                self._copies_sum = known.sha256 is not None
        return known

    async def _copy(self, key: str, known: StoredSum) -> str | None:
        """The ETag of the copy; None when another writer has replaced the object."""
        try:
            return await self._uploads.copy_in_place(key, etag=known.etag)
        except Waiting as error:
            if error.reason != "StoreLacksOperation":
                raise
            self._copies_sum = False
            return None
        except Transient as error:
            now = await self._uploads.head(key)
            if error.reason == "ObjectChanged" or now is None or now.sha256 is not None:
                return None
            # A busy store throttles the head request too, and that request waits for the Retry-After.
            raise Transient(reason=error.reason, message=error.message, remedy=error.remedy) from error
