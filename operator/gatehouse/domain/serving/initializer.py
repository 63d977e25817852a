"""The access of KServe's storage initializer to an object store: its connection, and its limits.

KServe hands the initializer one entry of the Secret ``storage-config``. The initializer reads ``type``,
``endpoint_url``, ``region``, ``access_key_id``, ``secret_access_key``, ``anonymous``, ``verify_ssl`` and ``ca_bundle``
of that entry; KServe itself reads ``bucket`` and ``cabundle_configmap``. No field states the bucket in the host's name,
a requester who pays, a session token or a proxy. The variable ``S3_USER_VIRTUAL_BUCKET`` of the initializer (spelled
so) states the first, and a ClusterStorageContainer sets it. For the others KServe has nothing.

Source: ``python/storage/kserve_storage/kserve_storage.py`` (``_update_with_storage_spec``, ``get_S3_config``) and
``pkg/credentials`` of https://github.com/kserve/kserve, releases 0.15 to 0.20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import endpoint_of, host_of, s3_endpoint

__all__ = [
    "REQUESTER_PAYS",
    "VIRTUAL_BUCKET",
    "Loading",
    "cannot_load",
    "loading_of",
    "may_have_virtual_host",
]

REQUESTER_PAYS: Final = "RequesterPays"
VIRTUAL_BUCKET: Final = "S3_USER_VIRTUAL_BUCKET"
"""The variable by which the initializer puts the bucket into the host's name, as KServe spells it."""


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


def loading_of(store: ObjectStore) -> Loading:
    """The connection of a store. Raises Stalled (RegionUnknown) when the region of the store is unknown."""
    endpoint, region = endpoint_of(store)
    return Loading(endpoint=endpoint, region=region, limits=tuple(_limits(store, endpoint)))


def may_have_virtual_host(store: ObjectStore) -> bool:
    """Whether the initializer may put the bucket into the host's name: verification did, or AWS accepts both forms."""
    endpoint = store.endpoint or s3_endpoint(store.region)
    return store.addressing == "VirtualHost" or (endpoint is not None and host_of(endpoint) is not None)


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


def _limits(store: ObjectStore, endpoint: str) -> Iterator[Finding]:
    blocked = cannot_load(store)
    if blocked is not None:
        yield blocked
    # AWS accepts the bucket in the path, where the initializer puts it when an endpoint is set.
    if store.addressing == "VirtualHost" and host_of(endpoint) is None:
        yield Finding(
            reason="VirtualHost",
            found=f"{store.uri_prefix} accepts the bucket only in the host name, which a connection cannot say",
            expected=f"the variable {VIRTUAL_BUCKET}=true in KServe's initializer",
            remedy=f"ask a cluster administrator to add {VIRTUAL_BUCKET}=true to spec.container.env of the "
            "ClusterStorageContainer that loads s3:// (kubectl edit clusterstoragecontainer default); this "
            "ClusterStorageContainer then no longer loads from stores that accept the bucket only in the path",
        )
    if store.proxy is not None:
        yield Finding(
            reason="Proxy",
            found=f"Gatehouse reads {store.uri_prefix} through proxy {store.proxy}, and a connection has no proxy",
            expected=f"a connection from Pods to {endpoint} without a proxy",
            remedy="let Pods of the namespace reach the store directly",
        )
