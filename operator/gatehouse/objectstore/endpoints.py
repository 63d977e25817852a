"""Where a store is, and which region its requests are signed for."""

from __future__ import annotations

from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.aws import host_of, s3_endpoint
from gatehouse.domain.errors import Stalled

__all__ = ["endpoint_of", "signing_region"]


def endpoint_of(store: ObjectStore) -> tuple[str, str]:
    """Endpoint without a slash at its end, and the region to sign for.

    Raises Stalled (RegionUnknown) when no endpoint is named and AWS has no such region.
    """
    endpoint = store.endpoint or s3_endpoint(store.region)
    if endpoint is None:
        raise Stalled(
            reason="RegionUnknown",
            message=f"the object store of {store.uri_prefix} has no endpoint, and its region is {store.region}; "
            "expected: a region of AWS, as us-east-1, or an endpoint",
            remedy="Name the store's endpoint, or the region of the bucket at AWS.",
        )
    return endpoint.rstrip("/"), signing_region(endpoint, store.region)


def signing_region(endpoint: str, region: str) -> str:
    """The region of a host of AWS, which takes signatures for no other; elsewhere the ``region`` that was named."""
    host = host_of(endpoint)
    return region if host is None else host.region
