"""The stores of every provider behind one port, chosen by the scheme of a URI."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pkgutil import resolve_name

from pydantic import ValidationError

from gatehouse.api.model_registry import ObjectStore
from gatehouse.api.model_version import Artifact
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.locations import ArtifactLocation, locate, provider_of
from gatehouse.errors import InputInvalid
from gatehouse.storage.metrics import StoreMetrics
from gatehouse.storage.port import ArtifactStore, ArtifactStores, Bucket, BucketOpener, CopyArchive, StoreFlags
from gatehouse.storage.providers.table import PROVIDERS, examples

__all__ = ["Stores", "location_of", "open_location"]


class Stores(ArtifactStores):
    """The stores of every provider. Providers that name the same clients share them.

    The clients are imported here rather than at the first use, which would stop the event loop for the import.
    """

    def __init__(self, metrics: StoreMetrics) -> None:
        names = {provider.stores for provider in PROVIDERS.values()}
        self._clients: dict[str, ArtifactStores] = {name: resolve_name(name)(metrics) for name in names}

    def open(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> ArtifactStore:
        return self._client(store).open(store, bucket=bucket, credentials=credentials, ca_pem=ca_pem)

    def archive(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, ...] | None, ca_pem: str | None
    ) -> CopyArchive:
        return self._client(store).archive(store, bucket=bucket, credentials=credentials, ca_pem=ca_pem)

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _client(self, store: ObjectStore) -> ArtifactStores:
        return self._clients[provider_of(store.uri_prefix).stores]


def location_of(uri: str) -> ArtifactLocation:
    """The parts of a URI that is valid in ``spec.artifact.uri``. Raises InputInvalid."""
    try:
        provider_of(uri)
        Artifact(uri=uri)
    except Stalled as error:
        raise InputInvalid(error.message) from None
    except ValidationError:
        raise InputInvalid(
            f"the URI is {uri!r}; expected: {examples()}, with letters, digits, dots, dashes and underscores"
        ) from None
    location = locate(uri)
    if not {".", ".."}.isdisjoint(location.prefix.split("/")):
        raise InputInvalid(f"the URI is {uri!r}; expected: no '.' or '..' as a segment")
    return location


def open_location(location: ArtifactLocation, flags: StoreFlags) -> AbstractAsyncContextManager[Bucket]:
    """The bucket of a location with the settings of the person who runs a command, as ``BucketOpener`` says."""
    opener: BucketOpener = resolve_name(PROVIDERS[location.scheme].commands)
    return opener(location.bucket, flags)
