"""Which namespaces may use a registry, which of its stores has an artifact, and where the store is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

from gatehouse.api.model_registry import LabelSelector, LabelSelectorRequirement, ModelRegistry, ObjectStore
from gatehouse.domain.common.errors import Stalled
from gatehouse.storage.providers.provider import Place, Provider
from gatehouse.storage.providers.table import PROVIDERS, schemes

__all__ = [
    "ArtifactLocation",
    "allows_namespace",
    "duration",
    "folder_of",
    "locate",
    "place_of",
    "provider_of",
    "selects",
    "store_for",
]

_SECONDS: Final = {"h": 3600, "m": 60, "s": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLocation:
    """A URI in its parts; the prefix ends with a slash, or is empty for the whole bucket."""

    scheme: str
    bucket: str
    prefix: str


def locate(uri: str) -> ArtifactLocation:
    """The parts of ``scheme://bucket/prefix``; the CRD has checked its form. Never raises."""
    scheme, separator, path = uri.partition("://")
    if not separator:
        scheme, path = "", uri
    bucket, _, prefix = path.partition("/")
    folder = prefix.rstrip("/")
    return ArtifactLocation(scheme=scheme, bucket=bucket, prefix=f"{folder}/" if folder else "")


def provider_of(uri: str) -> Provider:
    """The provider of a URI by its scheme. Raises Stalled (SchemeUnknown)."""
    scheme, separator, _ = uri.partition("://")
    provider = PROVIDERS.get(scheme)
    if provider is None or not separator:
        raise Stalled(
            reason="SchemeUnknown",
            message=f"the URI is {uri!r}; expected: a URI that begins with {schemes()}",
            remedy="Correct the URI, or copy the files into a store that Gatehouse supports.",
        )
    return provider


def folder_of(uri: str) -> str:
    """The URI with a slash at its end, as templates and admission write it: without it, KServe also loads siblings."""
    return uri.rstrip("/") + "/"


def store_for(registry: ModelRegistry, uri: str) -> ObjectStore | None:
    """The object store of the registry with the longest prefix of ``uri``, if any."""
    folder = folder_of(uri)
    matching = [store for store in registry.spec.object_stores if folder.startswith(store.uri_prefix)]
    return max(matching, key=lambda store: len(store.uri_prefix), default=None)


def place_of(store: ObjectStore) -> Place:
    """The endpoint and the region of a store.

    Raises Stalled (RegionUnknown) when no endpoint is named and the provider has no such region, and as
    :func:`provider_of`.
    """
    provider = provider_of(store.uri_prefix)
    place = provider.place(store.endpoint, store.region)
    if place is None:
        raise Stalled(
            reason="RegionUnknown",
            message=f"the object store of {store.uri_prefix} has no endpoint, and its region is {store.region}; "
            f"expected: {provider.regions}, or an endpoint",
            remedy="Name the endpoint of the store, or the region of the bucket.",
        )
    return place


def allows_namespace(registry: ModelRegistry, namespace: str, labels: Mapping[str, str] | None) -> bool:
    """Whether the registry keeps models of ``namespace``. Labels of None mean that the namespace is not known."""
    allowed = registry.spec.allowed_namespaces
    if namespace == registry.metadata.namespace or allowed.from_ == "All":
        return True
    if allowed.from_ == "Same" or allowed.selector is None or labels is None:
        return False
    return selects(allowed.selector, labels)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether a selector matches an object with these labels."""
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
