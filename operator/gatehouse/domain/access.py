"""Who may use which registry, and which object store an artifact is read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

from gatehouse.api.model_registry import LabelSelector, LabelSelectorRequirement, ModelRegistry, ObjectStore
from gatehouse.domain.aws import s3_endpoint, signing_region
from gatehouse.domain.errors import Stalled

__all__ = [
    "ArtifactLocation",
    "allows_namespace",
    "duration",
    "endpoint_of",
    "folder_of",
    "locate",
    "selects",
    "store_for",
]

_SECONDS: Final = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True)
class ArtifactLocation:
    """Bucket and prefix of an artifact; the prefix ends with a slash, or is empty for the whole bucket."""

    bucket: str
    prefix: str


def locate(uri: str) -> ArtifactLocation:
    """Bucket and prefix of ``s3://bucket/prefix``; the CRD has checked its form."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    folder = prefix.rstrip("/")
    return ArtifactLocation(bucket=bucket, prefix=f"{folder}/" if folder else "")


def folder_of(uri: str) -> str:
    """The URI with a slash at its end, as templates and admission write it: without, KServe also loads siblings."""
    return uri.rstrip("/") + "/"


def store_for(registry: ModelRegistry, uri: str) -> ObjectStore | None:
    """The object store of the registry with the longest prefix of ``uri``, if any."""
    folder = folder_of(uri)
    matching = [store for store in registry.spec.object_stores if folder.startswith(store.uri_prefix)]
    return max(matching, key=lambda store: len(store.uri_prefix), default=None)


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


def allows_namespace(registry: ModelRegistry, namespace: str, labels: Mapping[str, str] | None) -> bool:
    """Whether the registry keeps models of ``namespace``, whose labels are None when it is not known."""
    allowed = registry.spec.allowed_namespaces
    if namespace == registry.metadata.namespace or allowed.from_ == "All":
        return True
    if allowed.from_ == "Same" or allowed.selector is None or labels is None:
        return False
    return selects(allowed.selector, labels)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes an object with these labels."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions
    )


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values


@lru_cache(maxsize=256)
def duration(text: str) -> timedelta:
    """A Go duration in whole hours, minutes and seconds, as in ``1h30m``; the CRD has checked its form."""
    total, number = 0, ""
    for char in text:
        if char in _SECONDS:
            total += int(number) * _SECONDS[char]
            number = ""
        else:
            number += char
    return timedelta(seconds=total)
