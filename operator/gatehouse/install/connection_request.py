"""A connection from flags, from a registry's store, and from a Secret with credentials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from gatehouse.api.model_registry import ModelRegistry, ObjectStore
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import locate, provider_of
from gatehouse.domain.serving.initializer import loading_of
from gatehouse.errors import InputInvalid
from gatehouse.install.connections import Form, decoded
from gatehouse.storage.providers.provider import Connection, Provider
from gatehouse.storage.providers.s3 import S3

__all__ = ["UNNAMED", "ConnectionRequest", "read_registry", "secret_credentials", "session_token_refusal"]

UNNAMED: Final = S3
"""The provider of a connection that names no registry, and of the credentials that flags give."""
_KEY: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_URL: Final = re.compile(r"https?://[^/?#@\s]+/?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRequest:
    """The flags of a connection. Flags that are None or empty take the value of the registry."""

    name: str | None
    endpoint: str | None
    region: str | None
    bucket: str
    ca_config_map: str
    form: Form

    def connection(
        self, registry: ModelRegistry | None, credentials: tuple[str, ...]
    ) -> tuple[Connection, Sequence[Finding]]:
        """The connection, and the properties of the store that a connection cannot describe.

        Raises InputInvalid where a value is missing or malformed.
        """
        key = self.name or (registry.spec.serving.connection_secret if registry else "")
        if not _KEY.fullmatch(key):
            raise InputInvalid(
                f"the name is {key!r}; it must consist of lower-case letters, digits and dashes, or pass --registry"
            )
        store = self._laid_over(self._store(registry) if registry else None)
        try:
            loading = loading_of(store)
        except Stalled as error:
            raise InputInvalid(f"{error.message}. {error.remedy}") from error
        bucket = self.bucket
        if registry is not None and self.form == "openshift-ai":
            bucket = locate(store.uri_prefix).bucket
        connection = Connection(
            provider=provider_of(store.uri_prefix),
            key=key,
            endpoint=loading.endpoint,
            region=loading.region,
            bucket=bucket,
            ca_config_map=self.ca_config_map,
            credentials=credentials,
        )
        return connection, [*loading.limits, *self._untrusted(store)]

    def provider(self, registry: ModelRegistry | None) -> Provider:
        """The provider of the registry's store. Raises InputInvalid as :meth:`connection`."""
        return provider_of(self._store(registry).uri_prefix) if registry else UNNAMED

    def _laid_over(self, store: ObjectStore | None) -> ObjectStore:
        """The store, with its fields replaced by the flags."""
        endpoint = self.endpoint or (store.endpoint if store else None)
        if store is None and not self.endpoint and not self.region:
            raise InputInvalid(
                "the endpoint is missing; name it, as in --endpoint https://minio.example.com, or use --region"
            )
        if endpoint is not None and not _URL.fullmatch(endpoint):
            raise InputInvalid(
                f"the endpoint is {endpoint!r}; it must be a URL, as in --endpoint https://minio.example.com"
            )
        changes = {"endpoint": endpoint} | ({"region": self.region} if self.region else {})
        return (store or ObjectStore(uri_prefix=f"{UNNAMED.scheme}://any/")).model_copy(update=changes)

    def _store(self, registry: ModelRegistry) -> ObjectStore:
        """The store of the connection: a connection has one endpoint, and templates name one connection."""
        name, stores = f"{registry.metadata.namespace}/{registry.metadata.name}", registry.spec.object_stores
        if self.bucket:
            stores = [store for store in stores if locate(store.uri_prefix).bucket == self.bucket]
        if not stores:
            what = f"no object store with the bucket {self.bucket}" if self.bucket else "no object store"
            raise InputInvalid(f"ModelRegistry {name} has {what}; use --endpoint and a name instead of --registry")
        places = {(store.endpoint, store.region) for store in stores}
        if len(places) > 1 and not self.endpoint:
            prefixes = ", ".join(store.uri_prefix for store in stores)
            raise InputInvalid(
                f"ModelRegistry {name} has stores at several endpoints ({prefixes}); choose one with --bucket"
            )
        return stores[0]

    def _untrusted(self, store: ObjectStore) -> Iterator[Finding]:
        if store.ca_secret is not None and not self.ca_config_map and self.form == "kserve":
            yield Finding(
                reason="PrivateAuthority",
                found=f"the authority in Secret {store.ca_secret.name} signed the certificate of {store.endpoint}, and "
                "KServe reads authorities from a ConfigMap",
                expected="a ConfigMap with the key cabundle.crt in the namespace of the services",
                remedy="create the ConfigMap with the same certificates and name it with --ca-config-map, unless the "
                "configuration of KServe names one for all namespaces",
            )


async def read_registry(api: ApiClient, reference: str) -> ModelRegistry:
    """The ModelRegistry of ``NAMESPACE/NAME``. Raises InputInvalid and ClusterError."""
    body = await api.get("modelregistries", *_pair(reference, flag="--registry"))
    try:
        return ModelRegistry.model_validate(body)
    except ValidationError as error:
        raise InputInvalid(
            f"ModelRegistry {reference} is not valid for this gatehouse; use --endpoint and a name"
        ) from error


async def secret_credentials(api: ApiClient, reference: str, provider: Provider) -> tuple[str, ...]:
    """The credentials in the Secret ``NAMESPACE/NAME``. Raises InputInvalid and ClusterError."""
    body = await api.get("secrets", *_pair(reference, flag="--credentials-secret"))
    data = body.get("data") or {}
    if provider.session_key in data:
        raise InputInvalid(session_token_refusal(f"Secret {reference} has the key {provider.session_key}"))
    values = {key: decoded(str(data.get(key, ""))).strip() for key in provider.credential_keys}
    if missing := [key for key, value in values.items() if not value]:
        raise InputInvalid(
            f"Secret {reference} has no key {' and no key '.join(missing)}; name the Secret of a user that may read"
        )
    return tuple(values.values())


def session_token_refusal(source: str) -> str:
    """Why temporary credentials are refused."""
    return (
        f"{source}: the credentials are temporary, and KServe's initializer takes no session token, so the store would "
        "reject them; use the keys of a user that may only read"
    )


def _pair(reference: str, *, flag: str) -> tuple[str, str]:
    namespace, _, name = reference.partition("/")
    if not namespace or not name or "/" in name:
        raise InputInvalid(f"{flag} is {reference!r}; it must be NAMESPACE/NAME")
    return namespace, name
