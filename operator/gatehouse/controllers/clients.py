"""Open connections of registries: credentials are read when a connection is opened, and again at intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from gatehouse.api.meta import SecretKeyReference
from gatehouse.api.model_registry import ModelRegistry, ObjectStore
from gatehouse.controllers.ports import (
    RegistryRows,
    RegistryRowsFactory,
    SecretReader,
    UtcClock,
)
from gatehouse.domain.common.errors import Stalled, Waiting
from gatehouse.domain.common.locations import locate, provider_of, store_for
from gatehouse.storage.port import ArtifactStore, ArtifactStores, CopyArchive

__all__ = ["Connections"]

REREAD: Final = timedelta(seconds=60)
BUCKET_COMES: Final = timedelta(seconds=60)
REFUSED: Final = timedelta(seconds=2)
"""How long an error answers all callers, so that 10,000 versions do not each ask a server that is down."""

CheckRows = Callable[[ModelRegistry, RegistryRows], Awaitable[None]]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _Slot(Generic[T]):
    """One connection: the object and the generation that it was opened for, how long it is valid, and the result.

    A registry that is deleted and created again has the same name and generation, and another uid.
    """

    declared: tuple[str, int]
    since: datetime
    until: datetime
    opened: asyncio.Future[T]


class Connections:
    """Opens and caches the rows and the stores of each registry. Concurrent callers share one opening.

    ``reread`` is how long a rotated Secret may go unnoticed while the old credentials still work. ``check_rows``
    compares the rows of a registry with the objects each time they are opened, before any caller gets the rows.
    ``identified`` are the registries, as ``namespace/name``, whose stores may be read with the operator's own identity:
    that identity may read more than the author of a registry may.
    """

    def __init__(
        self,
        *,
        stores: ArtifactStores,
        databases: RegistryRowsFactory,
        secrets: SecretReader,
        clock: UtcClock,
        check_rows: CheckRows | None = None,
        reread: timedelta = REREAD,
        identified: Iterable[str] = (),
    ) -> None:
        self._stores = stores
        self._databases = databases
        self._secrets = secrets
        self._clock = clock
        self._check_rows = check_rows
        self._reread = reread
        self._identified = frozenset(identified)
        self._rows: dict[str, _Slot[RegistryRows]] = {}
        self._buckets: dict[tuple[str, str, str], _Slot[ArtifactStore]] = {}

    async def rows(self, registry: ModelRegistry) -> RegistryRows:
        """The rows of a registry. Raises the errors of opening the database."""
        return await self._once(self._rows, _name(registry), registry, lambda: self._open_rows(registry))

    async def bucket(self, registry: ModelRegistry, store: ObjectStore, bucket: str) -> ArtifactStore:
        """One bucket of a store of a registry. Raises the errors of reading its Secrets."""
        key = (_name(registry), store.uri_prefix, bucket)
        return await self._once(self._buckets, key, registry, lambda: self._open_bucket(registry, store, bucket))

    async def archive(self, registry: ModelRegistry, uri: str) -> CopyArchive:
        """The bucket for copies at ``uri``.

        Raises ``Waiting`` (ArchiveUnknown) when none of the registry's stores has the URI, and the errors of reading
        Secrets.
        """
        store, bucket = store_for(registry, uri), locate(uri).bucket
        if store is not None:
            _refuse_clear_text(store)
        credentials = None if store is None else await self._credentials(registry, store)
        if store is None or (credentials is None and not store.workload_identity):
            raise Waiting(
                reason="ArchiveUnknown",
                message=f"{uri} is below no object store of the registry that has a credentialsSecret "
                "or workloadIdentity",
                remedy="Add the store to objectStores, with credentials that may write there.",
                after=BUCKET_COMES,
            )
        ca_pem = await self._secret(registry, store.ca_secret)
        return self._stores.archive(store, bucket=bucket, credentials=credentials, ca_pem=ca_pem)

    async def probe(self, registry: ModelRegistry, store: ObjectStore) -> None:
        """Lists one name below the store's prefix.

        Raises the store's errors, and ``Waiting`` when the bucket does not exist.
        """
        location = locate(store.uri_prefix)
        bucket = await self.bucket(registry, store, location.bucket)
        if await bucket.list(location.prefix, limit=1) is None:
            raise Waiting(
                reason="BucketNotFound",
                message=f"there is no bucket {location.bucket} at {store.endpoint or store.region}",
                remedy="create the bucket, or fix uriPrefix in the registry",
                after=BUCKET_COMES,
            )

    def reread(self, registry: ModelRegistry, *, older_than: timedelta = timedelta(0)) -> None:
        """Read the Secrets again at the next use, because a server rejected them, unless they were read lately."""
        self._drop(_name(registry), opened_before=self._clock.now() - older_than)

    def forget(self, name: str) -> None:
        """Closes the database of the deleted registry ``namespace/name``."""
        self._drop(name, opened_before=self._clock.now())
        self._databases.forget(name)

    def _drop(self, name: str, *, opened_before: datetime) -> None:
        rows = self._rows.get(name)
        if rows is not None and self._is_older(rows, opened_before):
            del self._rows[name]
        for key, slot in list(self._buckets.items()):
            if key[0] == name and self._is_older(slot, opened_before):
                del self._buckets[key]

    def _is_older(self, slot: _Slot[T], opened_before: datetime) -> bool:
        """A connection opened in the future was opened before the machine's clock was set back."""
        return slot.since <= opened_before or slot.since > self._clock.now()

    async def secret(self, registry: ModelRegistry, reference: SecretKeyReference) -> str:
        """A value of a Secret in the namespace of a registry, read now. Raises the errors of reading Secrets."""
        values = await self._secrets.read(registry.metadata.namespace, reference.name, (reference.key,))
        return values[reference.key]

    def describe(self, registry: ModelRegistry) -> str:
        """The database of a registry, without credentials."""
        return self._databases.describe(registry)

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._stores.aclose()
        await self._databases.aclose()

    async def _once(
        self, slots: dict[K, _Slot[T]], key: K, registry: ModelRegistry, opener: Callable[[], Awaitable[T]]
    ) -> T:
        now, slot = self._clock.now(), slots.get(key)
        declared = (registry.metadata.uid, registry.metadata.generation)
        if slot is None or slot.declared != declared or not slot.since <= now < slot.until:
            opened: asyncio.Future[T] = asyncio.ensure_future(opener())
            opened.add_done_callback(_retrieved)
            slot = _Slot(declared, now, now + self._reread, opened)
            slots[key] = slot
        try:
            return await asyncio.shield(slot.opened)
        except Exception:
            # Unexpected errors are kept for a moment as well, so that callers do not all retry at once.
            slot.until = min(slot.until, self._clock.now() + REFUSED)
            raise

    async def _open_rows(self, registry: ModelRegistry) -> RegistryRows:
        connection = registry.spec.mysql or registry.spec.postgres
        password = await self._secret(registry, connection.password_secret if connection else None)
        ca_pem = await self._secret(registry, connection.ca_secret if connection else None)
        rows = await self._databases.open(registry, password=password, ca_pem=ca_pem)
        if self._check_rows is not None:
            await self._check_rows(registry, rows)
        return rows

    async def _open_bucket(self, registry: ModelRegistry, store: ObjectStore, bucket: str) -> ArtifactStore:
        _refuse_clear_text(store)
        credentials = await self._credentials(registry, store)
        ca_pem = await self._secret(registry, store.ca_secret)
        return self._stores.open(store, bucket=bucket, credentials=credentials, ca_pem=ca_pem)

    async def _credentials(self, registry: ModelRegistry, store: ObjectStore) -> tuple[str, ...] | None:
        if store.workload_identity and _name(registry) not in self._identified:
            raise Stalled(
                reason="IdentityNotAllowed",
                message=f"ModelRegistry {_name(registry)} may not use the operator's identity for {store.uri_prefix}",
                remedy=f"Name {_name(registry)} in the operator's setting workloadIdentityFor, or a credentialsSecret.",
            )
        if store.credentials_secret is None or store.workload_identity:
            return None
        keys = provider_of(store.uri_prefix).credential_keys
        values = await self._secrets.read(registry.metadata.namespace, store.credentials_secret.name, keys)
        return tuple(values[key] for key in keys)

    async def _secret(self, registry: ModelRegistry, reference: SecretKeyReference | None) -> str | None:
        return None if reference is None else await self.secret(registry, reference)


def _refuse_clear_text(store: ObjectStore) -> None:
    """The CRD has the same rule, but objects from before that rule may break it."""
    if store.tls != "Disabled" and (store.endpoint or "https://").startswith("http://"):
        raise Stalled(
            reason="ClearTextRefused",
            message=f"the endpoint of {store.uri_prefix} is {store.endpoint}; expected: https, or tls: Disabled",
            remedy="Name an endpoint with https, or set tls: Disabled where no one else can use the network.",
        )


def _retrieved(opened: asyncio.Future[T]) -> None:
    """Retrieves an error whose callers were all cancelled, so that asyncio does not report it at shutdown."""
    if not opened.cancelled():
        opened.exception()


def _name(registry: ModelRegistry) -> str:
    return f"{registry.metadata.namespace}/{registry.metadata.name}"
