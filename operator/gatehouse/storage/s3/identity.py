"""The operator's own identity at a store: what its service account, Pod or node is lent credentials for.

botocore finds them as it always does: web identity (IRSA and other OIDC), Pod identity, the instance's profile. They
run out, and are renewed beside the event loop, as that asks a server.
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
    """What requests are signed with."""

    async def frozen(self) -> ReadOnlyCredentials:
        """Those to sign one request with, valid now. Raises Waiting (IdentityUnavailable)."""
        ...


class FixedCredentials:
    """Credentials of a Secret, or of the person who runs a command."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def frozen(self) -> ReadOnlyCredentials:
        """A key pair as it is; what is lent is renewed by botocore."""
        return await _frozen(self._credentials)


class WorkloadIdentity:
    """Finds the credentials when they are first needed. ``load`` blocks."""

    def __init__(self, load: Callable[[], Credentials | None] | None = None) -> None:
        self._load = load or _of_the_process
        self._found: Credentials | None = None
        self._lock = asyncio.Lock()

    async def frozen(self) -> ReadOnlyCredentials:
        """Those to sign one request with, valid now. Raises Waiting (IdentityUnavailable)."""
        async with self._lock:
            try:
                if self._found is None:
                    self._found = await asyncio.to_thread(self._load)
                if self._found is not None:
                    return await _frozen(self._found)
            except (BotoCoreError, ClientError) as error:
                raise _unavailable(f"the operator's identity was lent no credentials: {error}"[:_LONGEST]) from error
        raise _unavailable("the operator has no identity: neither its service account nor its node is lent credentials")


async def _frozen(credentials: Credentials) -> ReadOnlyCredentials:
    """To read credentials that run out may be to ask a server for others."""
    if isinstance(credentials, RefreshableCredentials):
        return await asyncio.to_thread(credentials.get_frozen_credentials)
    return credentials.get_frozen_credentials()


def _of_the_process() -> Credentials | None:
    import botocore.session  # noqa: PLC0415 - 4 MiB that only a registry with workload identity needs

    found: Credentials | None = botocore.session.get_session().get_credentials()
    return found


def _unavailable(message: str) -> Waiting:
    return Waiting(
        reason="IdentityUnavailable",
        message=message,
        remedy="Give the operator's service account a role that may read the bucket, or name a credentialsSecret.",
        after=_LOOK_AGAIN,
    )
