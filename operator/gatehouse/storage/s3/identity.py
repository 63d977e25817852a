"""The operator's own identity at a store: temporary credentials of its service account, Pod or node.

botocore finds them by its usual chain: web identity (IRSA and other OIDC), Pod identity, the instance's profile. The
credentials expire. They are renewed outside the event loop, because a renewal asks a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError

from gatehouse.domain.common.errors import Waiting

__all__ = ["FixedCredentials", "RequestCredentials", "WorkloadIdentity"]

_LOOK_AGAIN: Final = timedelta(seconds=60)
_LONGEST: Final = 300


class RequestCredentials(Protocol):
    """The credentials that sign requests."""

    async def frozen(self) -> ReadOnlyCredentials:
        """Credentials for one request, valid now. Raises Waiting (IdentityUnavailable)."""
        ...


class FixedCredentials:
    """Credentials of a Secret, or of the person who runs a command."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def frozen(self) -> ReadOnlyCredentials:
        """The key pair unchanged; botocore renews temporary credentials."""
        return await _frozen(self._credentials)


class WorkloadIdentity:
    """Finds the credentials at the first request. ``load`` blocks."""

    def __init__(self, load: Callable[[], Credentials | None] | None = None) -> None:
        self._load = load or _of_the_process
        self._found: Credentials | None = None
        self._lock = asyncio.Lock()

    async def frozen(self) -> ReadOnlyCredentials:
        """Credentials for one request, valid now. Raises Waiting (IdentityUnavailable)."""
        async with self._lock:
            try:
                if self._found is None:
                    self._found = await asyncio.to_thread(self._load)
                if self._found is not None:
                    return await _frozen(self._found)
            except (BotoCoreError, ClientError) as error:
                raise _unavailable(f"no credentials for the operator's identity: {error}"[:_LONGEST]) from error
        raise _unavailable(
            "the operator has no identity: neither its service account nor its node receives credentials"
        )


async def _frozen(credentials: Credentials) -> ReadOnlyCredentials:
    """Read the credentials in a thread: reading credentials that expire may ask a server for new ones."""
    if isinstance(credentials, RefreshableCredentials):
        return await asyncio.to_thread(credentials.get_frozen_credentials)
    return credentials.get_frozen_credentials()


def _of_the_process() -> Credentials | None:
    import botocore.session  # noqa: PLC0415 - 4 MiB that only a registry with workload identity needs

    credentials: Credentials | None = botocore.session.get_session().get_credentials()
    return credentials


def _unavailable(message: str) -> Waiting:
    return Waiting(
        reason="IdentityUnavailable",
        message=message,
        remedy="Give the operator's service account a role that may read the bucket, or name a credentialsSecret.",
        after=_LOOK_AGAIN,
    )
