"""The access of KServe's storage initializer to an object store: its connection, and its limits.

KServe hands the initializer one entry of the Secret ``storage-config``. The initializer reads ``type``,
``endpoint_url``, ``region``, ``access_key_id``, ``secret_access_key``, ``anonymous``, ``verify_ssl`` and ``ca_bundle``
of that entry; KServe itself reads ``bucket`` and ``cabundle_configmap``. No field states the bucket in the host's name,
a requester who pays, a session token or a proxy. A variable of the initializer, which the provider names, states the
first, and a ClusterStorageContainer sets the variable. For the others KServe has nothing.

Source: ``python/storage/kserve_storage/kserve_storage.py`` (``_update_with_storage_spec``, ``get_S3_config``) and
``pkg/credentials`` of https://github.com/kserve/kserve, releases 0.15 to 0.20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import place_of, provider_of
from gatehouse.storage.providers.provider import Place

__all__ = [
    "REQUESTER_PAYS",
    "Loading",
    "cannot_load",
    "loading_of",
    "may_have_virtual_host",
]

REQUESTER_PAYS: Final = "RequesterPays"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How the initializer reaches a store: the place that Gatehouse verified, and the settings that the initializer
    lacks.

    ``region`` is the region for which requests are signed. Each of ``limits`` is a setting that the connection cannot
    state.
    """

    endpoint: str
    region: str
    limits: tuple[Finding, ...] = ()


@lru_cache(maxsize=256)
def loading_of(store: ObjectStore) -> Loading:
    """The connection of a store. Raises Stalled (RegionUnknown) when the region of the store is unknown."""
    place = place_of(store)
    return Loading(endpoint=place.endpoint, region=place.region, limits=tuple(_limits(store, place)))


def may_have_virtual_host(store: ObjectStore) -> bool:
    """Whether the initializer may put the bucket into the host's name: verification did, or both forms are accepted."""
    place = provider_of(store.uri_prefix).place(store.endpoint, store.region)
    return store.addressing == "VirtualHost" or (place is not None and place.any_addressing)


def cannot_load(store: ObjectStore) -> Finding | None:
    """Why no Pod of KServe can load from the store, whatever its connection says."""
    if not store.requester_pays:
        return None
    return Finding(
        reason=REQUESTER_PAYS,
        found=f"requests to {store.uri_prefix} must state that the requester pays, and KServe's initializer does not: "
        "the store rejects its requests, and Pods of these models do not start",
        expected="a bucket that KServe's initializer may read without x-amz-request-payer",
        remedy="copy the models into your own bucket, or use credentials of the account that owns the bucket, which "
        "does not pay as a requester",
    )


def _limits(store: ObjectStore, place: Place) -> Iterator[Finding]:
    blocked = cannot_load(store)
    if blocked is not None:
        yield blocked
    if store.addressing == "VirtualHost" and not place.any_addressing:
        provider = provider_of(store.uri_prefix)
        variable = f"{provider.virtual_host_variable}=true"
        yield Finding(
            reason="VirtualHost",
            found=f"{store.uri_prefix} accepts the bucket only in the host name, which a connection cannot say",
            expected=f"the variable {variable} in KServe's initializer",
            remedy=f"ask a cluster administrator to add {variable} to spec.container.env of the "
            f"ClusterStorageContainer that loads {provider.scheme}:// (kubectl edit clusterstoragecontainer default). "
            "This ClusterStorageContainer then no longer loads from stores that accept the bucket only in the path",
        )
    if store.proxy is not None:
        yield Finding(
            reason="Proxy",
            found=f"Gatehouse reads {store.uri_prefix} through proxy {store.proxy}, and a connection has no proxy",
            expected=f"a connection from Pods to {place.endpoint} without a proxy",
            remedy="let Pods of the namespace reach the store directly",
        )
